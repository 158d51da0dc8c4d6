"""Figures and pages drawn from numbers: SVG and HTML without a script, an image library or a host."""
