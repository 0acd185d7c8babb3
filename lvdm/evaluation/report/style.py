"""How the page of a report looks, on a screen and on paper, in light and in dark."""

STYLE = """
:root { --fake: #2f6fb3; --real: #2e8b57; --still: #c2571a; --floor: #7a828b; --side-a: #b4531b; --side-b: #2f6fb3 }
@media screen and (prefers-color-scheme: dark) {
  :root { --fake: #6fb0ee; --real: #5fc48d; --still: #f0955b; --floor: #8d97a3; --side-a: #f0955b; --side-b: #6fb0ee }
}
header .kind { color: var(--muted); margin: 0 }
h3 { font-size: 1.05em; margin: 1.6em 0 .4em }
h4 { font-size: .8em; margin: .4em 0; color: var(--muted); font-weight: 600; letter-spacing: .06em }
h4 { text-transform: uppercase }
.notes { list-style: none; padding: 0; margin: 1em 0 }
.notes li { background: var(--soft); border-left: 3px solid var(--line); padding: .5em .8em; margin: .4em 0 }
.notes.caution li { border-color: var(--caution) }
.notes li { overflow-wrap: anywhere }
.foot, .missing { color: var(--muted); font-size: .9em }
.grid { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 440px), 1fr)) }
.grid { gap: 1.2em; align-items: start }
.card { background: var(--card); border: 1px solid var(--line); border-radius: 8px; padding: 1em }
article.card { padding: .7em; margin-bottom: .8em }
figcaption b, figcaption span { display: block }
figcaption { margin-bottom: .8em }
figcaption span { color: var(--muted); font-size: .9em; line-height: 1.4 }
.wide { overflow-x: auto; margin: .6em 0 }
table { font-size: .92em; font-variant-numeric: tabular-nums }
th { white-space: nowrap }
td:last-child, th:last-child { padding-right: 0 }
td { overflow-wrap: anywhere; min-width: 3.5em } td:first-child { min-width: 9em }
td:nth-child(2) { min-width: 5.6em }
.r { text-align: right; white-space: nowrap }
details { margin: .8em 0 }
summary { color: var(--accent) }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .3em 1.2em; font-size: .92em }
dd { margin: 0; color: var(--muted) }
article img { display: block; height: auto; border-radius: 4px }
article p { margin: .4em 0 0; overflow-wrap: anywhere }
.id span, .numbers { color: var(--muted); font-size: .88em }
.prompt { font-style: italic }
.numbers, .legend { list-style: none; padding: 0; margin: .4em 0 0; display: flex; flex-wrap: wrap; gap: .2em 1.2em }
.numbers b { color: var(--text); font-variant-numeric: tabular-nums }
.legend { font-size: .87em; color: var(--muted); margin-top: .6em }
.legend li { display: flex; align-items: center; gap: .45em }
.sample { width: 22px; height: 14px; flex: none }
.chart > svg { display: block; width: 100%; height: auto; overflow: visible }
svg text { fill: var(--text); font-size: 13px; font-family: inherit }
svg .tick, svg .name { fill: var(--muted); font-size: 12.5px; font-variant-numeric: tabular-nums }
svg .name { font-size: 13px }
svg .strong { font-weight: 600 }
svg .verdict { font-size: 12.5px; font-weight: 600; stroke: none }
svg .note { font-size: 12.5px; paint-order: stroke; stroke: var(--card); stroke-width: 4px; stroke-linejoin: round }
svg .tick { white-space: pre }
.grid > line, line.grid { stroke: var(--line) }
line.axis { stroke: var(--muted) }
line, polyline { fill: none; stroke-width: 2; stroke-linecap: round; stroke-linejoin: round }
line.grid, line.axis { stroke-width: 1; stroke-linecap: butt }
line.thin { stroke-width: 1.3 }
.dashed { stroke-dasharray: 5 5 }
line.bar { stroke-width: 2.5 }
line.halo { stroke: var(--card); stroke-width: 6 }
line.fake, polyline.fake, circle.ring.fake { stroke: var(--fake) } circle.fake, polygon.fake { fill: var(--fake) }
line.real, polyline.real, circle.ring.real { stroke: var(--real) } circle.real, polygon.real { fill: var(--real) }
line.still, polyline.still, circle.ring.still { stroke: var(--still) }
circle.still, polygon.still { fill: var(--still) }
line.floor, polyline.floor { stroke: var(--floor); stroke-dasharray: 2 5 }
circle.ring { fill: var(--card); stroke-width: 2.5 }
circle.ring.mean { stroke: var(--muted) }
.faint { opacity: .5 }
polygon.band { opacity: .18 }
polygon.still { stroke: var(--card); stroke-width: 1.5 }
.side-a { fill: var(--side-a) } .side-b { fill: var(--side-b) }
.neutral { fill: var(--text) } .open { fill: var(--floor) }
rect.side-a, rect.side-b, rect.neutral, rect.open { opacity: .45 }
svg .verdict.side-a { fill: var(--side-a) } svg .verdict.side-b { fill: var(--side-b) }
svg .verdict.open { fill: var(--muted); font-weight: 400 }
.point { stroke: var(--card); stroke-width: 1.5 }
@media (max-width: 520px) {
  body { padding: 1.2em .8em 3em }
  dl { display: block } dd { margin: 0 0 .7em }
  .card { padding: .8em } td:nth-child(2) { min-width: 0 }
  svg text, svg .name { font-size: 16px } svg .tick, svg .note, svg .verdict { font-size: 15.5px }
}
@media print {
  body { max-width: none; padding: 0; font-size: 10.5pt }
  .card, .notes li, tr { break-inside: avoid } h2, h3, h4 { break-after: avoid }
  .grid { grid-template-columns: 1fr 1fr } .wide { overflow: visible }
  details::details-content { content-visibility: visible; height: auto } summary { list-style: none }
  * { print-color-adjust: exact }
}
"""
