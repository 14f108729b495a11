"""How `make docs` builds the pages of this folder as a site."""

project = "kalshi-fills"
extensions = ["myst_parser"]
myst_heading_anchors = 3  # links to headings are those that GitHub makes
html_theme = "furo"
html_title = "kalshi-fills"
html_show_copyright = False
html_copy_source = False
html_show_sphinx = False
html_theme_options = {"footer_icons": []}
highlight_language = "none"  # unless a block names one
nitpicky = True
