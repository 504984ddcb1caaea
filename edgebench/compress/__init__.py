"""Making a network smaller and writing it in every form that a runtime wants.

Importing this package, or a method's module, imports no framework: that happens when a method is applied.
"""
