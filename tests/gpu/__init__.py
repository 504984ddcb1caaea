"""What can only be checked where there is an NVIDIA GPU: see __main__.py. Nothing here is collected by pytest."""
