"""What the HTML report is made of: charts as our own SVG, a style sheet and a short script."""
