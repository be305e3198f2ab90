"""The page for people; it loads nothing from elsewhere."""

PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><title>{name}</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<style>
body {{ font: 16px/1.5 system-ui, sans-serif; max-width: 46rem; margin: 2rem auto; padding: 0 1rem; }}
table {{ border-collapse: collapse; }}
td, th {{ border-bottom: 1px solid #ccc; padding: .2rem .8rem; text-align: left; }}
textarea, pre {{ width: 100%; font: 14px/1.4 ui-monospace, monospace; box-sizing: border-box; }}
pre {{ background: #f4f4f4; padding: .8rem; overflow: auto; }}
</style>
<h1>{name}</h1>
<p>Version {version}, {algorithm}, digest <code>{digest}</code>.
A probability of at least {threshold} is labelled true.</p>
<table><tr><th>field<th>type<th>format<th>required{rows}</table>
<p>One row is one object; many rows are <code>{{"rows": [ … ]}}</code>. The description for programs is
<a href="/{name}/openapi.json">openapi.json</a>.</p>
<form><textarea rows="10" aria-label="request">{example}</textarea><p><button>POST /{name}/predict</button></p></form>
<pre aria-live="polite"></pre>
<script>
document.querySelector("form").onsubmit = async (event) => {{
  event.preventDefault();
  const answer = await fetch("/{name}/predict", {{
    method: "POST",
    headers: {{ "Content-Type": "application/json" }},
    body: document.querySelector("textarea").value,
  }});
  document.querySelector("pre").textContent = answer.status + "\\n" + (await answer.text());
}};
</script>
</html>
"""
