"""How the page of a validation report looks: it carries its style, for it loads nothing.

The colours are those of the hub's pages (web/static/app.css), each pair with a contrast of 4.5 : 1
or more.
"""

from __future__ import annotations

STYLE = """
:root {
  color-scheme: light dark;
  --paper: #f7f6f2; --card: #ffffff; --ink: #1d2522; --soft: #56625d; --line: #e0ded6;
  --good: #1f6f5c; --good-tint: #e6f1ed;
  --half: #1d5aa6; --half-tint: #e4eefa;
  --wait: #8a5300; --wait-tint: #fdf1dc;
  --bad: #a3282f; --bad-tint: #fbe9e8;
  --none: #56625d; --none-tint: #eeede7;
  --mono: ui-monospace, "SF Mono", "Cascadia Mono", "Noto Sans Mono", "Liberation Mono", monospace;
}
@media (prefers-color-scheme: dark) {
  :root {
    --paper: #141917; --card: #1c2320; --ink: #e8ece9; --soft: #a3b0aa; --line: #303a36;
    --good: #6cc5ab; --good-tint: #21352e;
    --half: #8ab8ff; --half-tint: #1f2e45;
    --wait: #f0bd6b; --wait-tint: #33291a;
    --bad: #f4a09b; --bad-tint: #3a2121;
    --none: #a3b0aa; --none-tint: #2a322e;
  }
}
*, *::before, *::after { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; background: var(--paper); }
body {
  margin: 0; background: var(--paper); color: var(--ink); overflow-wrap: anywhere;
  font: 1rem/1.55 ui-sans-serif, system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans",
    "Liberation Sans", sans-serif;
}
main { max-width: 48rem; margin-inline: auto; padding: 2.25rem 1.25rem 3rem; }
h1, h2, h3, p, ul, pre { margin: 0; padding: 0; }
h1 { font-size: 1.75rem; line-height: 1.2; letter-spacing: -0.015em; font-weight: 680; }
h1 span { display: block; margin-bottom: 0.3rem; color: var(--soft); letter-spacing: 0;
  font: 400 1rem/1.4 var(--mono); }
h2 { margin-bottom: 0.75rem; font-size: 1.125rem; line-height: 1.3; font-weight: 650; }
h3 { font-size: 1rem; line-height: 1.5; font-weight: 600; }
section { margin-top: 2.25rem; }
code, pre { font-family: var(--mono); font-size: 0.875em; }
pre code { font-size: inherit; }
.summary { margin-top: 1.25rem; padding: 0.9rem 1.1rem; border-radius: 0.75rem; }
.summary p { font-size: 1.0625rem; font-weight: 600; }
.summary.good { background: var(--good-tint); color: var(--good); }
.summary.bad { background: var(--bad-tint); color: var(--bad); }
.bar { display: flex; gap: 3px; height: 0.5rem; margin-top: 0.75rem; }
.bar i { flex: 1; border-radius: 1rem; border: 1px solid currentColor; }
.bar .good { color: var(--good); background: currentColor; }
.bar .half { color: var(--half);
  background: linear-gradient(to right, currentColor 50%, transparent 50%); }
.bar .bad { color: var(--bad); background: currentColor; }
.bar .wait { color: var(--wait); }
.bar .none { color: var(--none); border-style: dashed; }
.rows { list-style: none; background: var(--card); border: 1px solid var(--line);
  border-radius: 0.75rem; }
.rows > li {
  display: grid; grid-template-columns: 5.25rem minmax(0, 1fr) auto; gap: 0.15rem 0.9rem;
  padding: 0.9rem 1.1rem;
}
.rows > li + li { border-top: 1px solid var(--line); }
.rows > li > * { grid-column: 2 / -1; }
.rows > li > .pill { grid-column: 1; }
.rows > li > h3 { grid-column: 2; }
.rows > li > .marks { grid-column: 3; grid-row: 1; }
.pill { justify-self: start; align-self: start; padding: 0.1rem 0.6rem; border-radius: 1rem;
  font-size: 0.8125rem; line-height: 1.4rem; font-weight: 650; white-space: nowrap; }
.pill.good { background: var(--good-tint); color: var(--good); }
.pill.half { background: var(--half-tint); color: var(--half); }
.pill.wait { background: var(--wait-tint); color: var(--wait); }
.pill.bad { background: var(--bad-tint); color: var(--bad); }
.pill.none { background: var(--none-tint); color: var(--none); }
.marks { color: var(--soft); font-variant-numeric: tabular-nums; white-space: nowrap; }
.place { color: var(--soft); font-size: 0.9375rem; }
.said { white-space: pre-line; }
.why { margin-top: 0.3rem; padding-left: 1.15rem; list-style: disc; }
.rows pre { margin-block: 0.35rem; padding: 0.6rem 0.8rem; background: var(--paper);
  border: 1px solid var(--line); border-radius: 0.5rem; white-space: pre-wrap; }
.note { padding: 0.85rem 1.1rem; border-radius: 0.75rem; background: var(--wait-tint);
  color: var(--wait); }
.note ul { margin-top: 0.4rem; padding-left: 1.15rem; }
footer { margin-top: 2.25rem; padding-top: 1rem; border-top: 1px solid var(--line);
  color: var(--soft); font-size: 0.875rem; }
@media (max-width: 34rem) {
  main { padding: 1.5rem 1rem 2rem; }
  .rows > li { grid-template-columns: minmax(0, 1fr) auto; padding: 0.9rem 1rem; }
  .rows > li > *, .rows > li > h3 { grid-column: 1 / -1; }
  .rows > li > .pill { grid-column: 1; }
  .rows > li > .marks { grid-column: 2; }
}
@media print { .rows > li { break-inside: avoid; } }
"""
"""For one ``<style>`` element."""
