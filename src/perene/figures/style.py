"""The stylesheet of figures: light and dark, for the colour-blind, from 320 px on.

Colours are Okabe and Ito's, darkened or lightened until they stand out 3:1 from the page. No mark is told from another
by colour alone: lines differ in their dashes and dots, events in their glyphs.
"""

from __future__ import annotations

STYLE = """
.fig { --fig-paper: #fff; --fig-text: #1c2126; --fig-soft: #5b6570; --fig-grid: #e2e6ea; --fig-axis: #8a949e;
  --fig-1: #0072b2; --fig-2: #c44f00; --fig-3: #007d5b; --fig-4: #a0477f; --fig-5: #4a4f55;
  container-type: inline-size; margin: 0 0 2rem; color: var(--fig-text); }
@media (prefers-color-scheme: dark) {
  .fig { --fig-paper: #14171a; --fig-text: #e6e9ec; --fig-soft: #a3adb7; --fig-grid: #2b3137; --fig-axis: #6d7882;
    --fig-1: #56b4e9; --fig-2: #f0a040; --fig-3: #2fc99a; --fig-4: #df97c4; --fig-5: #c3c9cf; } }
.fig-drawing { display: block; width: 100%; height: auto; max-width: 60rem; overflow: visible; }
.fig-text { fill: var(--fig-soft); font: 13px system-ui, sans-serif; font-variant-numeric: tabular-nums; }
.fig-strong { fill: var(--fig-text); }
.fig-note { stroke: var(--fig-paper); stroke-width: 6; stroke-linejoin: round; paint-order: stroke; }
.fig-grid, .fig-axis, .fig-zero, .fig-reference, .fig-event-line, .fig-line, .fig-whisker {
  fill: none; vector-effect: non-scaling-stroke; }
.fig-grid { stroke: var(--fig-grid); }
.fig-axis { stroke: var(--fig-axis); }
.fig-zero { stroke: var(--fig-text); stroke-width: 1.25; }
.fig-reference { stroke: var(--fig-text); stroke-dasharray: 1 4; stroke-width: 2; stroke-linecap: round; }
.fig-event-line { stroke: var(--fig-axis); stroke-opacity: .45; }
.fig-line { stroke: currentColor; stroke-width: 2; stroke-linejoin: round; }
.fig-band { fill: currentColor; fill-opacity: .16; stroke: none; }
.fig-whisker { stroke: currentColor; stroke-width: 2; }
.fig-dot { fill: currentColor; stroke: var(--fig-paper); stroke-width: 1; }
.fig-hollow { fill: var(--fig-paper); stroke: currentColor; stroke-width: 2; }
.fig-certain .fig-dot { stroke: currentColor; stroke-width: 2; }
.fig-cross { fill: none; stroke: currentColor; stroke-width: 2.5; }
.fig-1 { color: var(--fig-1); }
.fig-2 { color: var(--fig-2); }
.fig-3 { color: var(--fig-3); }
.fig-4 { color: var(--fig-4); }
.fig-5 { color: var(--fig-5); }
.fig-2 .fig-line { stroke-dasharray: 7 3; }
.fig-3 .fig-line { stroke-dasharray: 2 3; }
.fig-4 .fig-line { stroke-dasharray: 10 3 2 3; }
.fig-5 .fig-line { stroke-dasharray: 14 5; }
.fig-release { color: var(--fig-3); }
.fig-rejection { color: var(--fig-2); }
.fig-inconclusive { color: var(--fig-soft); }
.fig-rollback { color: var(--fig-4); }
.fig-legend { display: flex; flex-wrap: wrap; gap: .25rem 1.25rem; margin: .5rem 0; padding: 0; list-style: none;
  font-size: .875rem; }
.fig-legend li { display: inline-flex; align-items: center; gap: .4rem; }
.fig-swatch { flex: none; overflow: visible; }
.fig figcaption { margin: .5rem 0; max-width: 45rem; }
.fig summary { cursor: pointer; color: var(--fig-soft); }
.fig-numbers { overflow: auto; max-height: 24rem; margin-top: .5rem; }
.fig-numbers table { border-collapse: collapse; font-size: .875rem; font-variant-numeric: tabular-nums; }
.fig-numbers th, .fig-numbers td { padding: .2rem .75rem .2rem 0; border-bottom: 1px solid var(--fig-grid);
  text-align: right; white-space: nowrap; }
.fig-numbers tr > :first-child { text-align: left; }
.fig-numbers thead th { position: sticky; top: 0; background: var(--fig-paper); }
@container (max-width: 36rem) {
  .fig-text { font-size: 22px; }
  .fig-wide { display: none; }
  .fig-event-line { stroke-opacity: .25; }
  .fig-drawing .fig-glyph { transform: scale(1.4); } }
@media print { .fig { break-inside: avoid; } .fig-numbers { max-height: none; overflow: visible; } }
"""

PAGE_STYLE = """
:root { color-scheme: light dark; }
body { margin: 0; background: #fff; color: #1c2126; font: 16px/1.5 system-ui, sans-serif; }
main { max-width: 60rem; margin: 0 auto; padding: 1.5rem 1rem; }
h1, h2 { line-height: 1.2; text-wrap: balance; }
@media (prefers-color-scheme: dark) { body { background: #14171a; color: #e6e9ec; } }
"""
