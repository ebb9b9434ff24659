"""Texts that would run a script, or break a page, if a page took them for more than text."""

HOSTILE = [
    "<script>hacked=1</script>",
    "<img src=x onerror=hacked=1>",
    '"><svg onload=alert(1)>',
    "' autofocus onfocus='hacked=1",
    "</title></style></script><script>alert(1)</script>",
    "--><iframe srcdoc='<script>parent.hacked=1</script>'></iframe><!--",
    "</text></svg><img src=x onerror=alert(1)>",
    "</td></table></details><details open ontoggle=hacked=1>",
    "[x](javascript:hacked=1) <javascript:alert(1)>",
    '![x](x "onerror=hacked=1") <b onmouseover=alert(1)>x</b>',
    "`</code><script>hacked=1</script>`",
    "\\`\\<img src=x onerror=hacked=1>\\|",
    "| </script> | <input autofocus onfocus=hacked=1> |",
    "&lt;script&gt;alert(1)&lt;/script&gt; &#60;img src=x onerror=alert(1)&#62;",
    "{{ 7 * 7 }}{% raw %} ${alert(1)} $x$",
    "]]><script>hacked=1</script>",
]
