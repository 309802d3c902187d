"""MkDocs hooks: links into the source tree, and Sphinx markup in docstrings, as the site can show them."""

import re
from pathlib import Path
from typing import Any

DOCS = Path(__file__).parent
LINK = re.compile(r"(?<!!)\[`?([^\]`]+)`?\]\((\.\./[^)]+)\)")
ROLE = re.compile(r":(?:mod|class|func|meth|attr):<code>~?([^<]+)</code>")


def on_page_markdown(markdown: str, *, page: Any, **_: Any) -> str:
    """Show links that leave ``docs/`` as paths in the repository: the site has no page for them."""
    folder = Path(page.file.abs_src_path).parent

    def path_in_repository(link: re.Match[str]) -> str:
        target = (folder / link[2].partition("#")[0]).resolve()
        if target.is_relative_to(DOCS) or not target.exists():
            return link[0]
        return f"`{target.relative_to(DOCS.parent)}`"

    return LINK.sub(path_in_repository, markdown)


def on_page_content(html: str, **_: Any) -> str:
    """Turn the cross-references of docstrings into links, where the reference has what they name."""
    html = ROLE.sub(r'<autoref optional identifier="\1"><code>\1</code></autoref>', html)
    return html.replace("::</p>", ":</p>")
