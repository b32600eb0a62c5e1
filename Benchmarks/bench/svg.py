# SPDX-License-Identifier: Apache-2.0
"""What our pictures have in common: SVG written by hand, readable on light and on dark pages."""

WIDTH, GREY = 860, "#808890"


def document(title, height, parts):
    """The text of a picture."""
    return "\n".join([
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" '
        f'width="{WIDTH}" height="{height}" font-family="sans-serif" font-size="12" '
        f'fill="{GREY}">',
        "<!-- SPDX-License-Identifier: Apache-2.0; drawn by Benchmarks/run -->",
        f"<title>{title}</title>", *parts, "</svg>"]) + "\n"
