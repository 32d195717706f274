"""An explanation as one HTML file: a strip of pictures with boxes, and the reasons below."""

from __future__ import annotations

import base64
import html

import numpy as np

from edgekit.replay.explain import Explanation, Moment, pick
from edgekit.types import Image

WIDTH = 320
STYLE = """
:root { color-scheme: light dark; font: 15px/1.5 system-ui, sans-serif; }
body { max-width: 84rem; margin: 2rem auto; padding: 0 1rem; }
.strip { display: grid; grid-template-columns: repeat(auto-fill, minmax(240px, 1fr)); gap: .75rem; }
figure { margin: 0; } img { width: 100%; border-radius: .4rem; display: block; }
figcaption { font-size: .85rem; opacity: .75; }
table { border-collapse: collapse; margin-top: 1.5rem; width: 100%; }
td { padding: .3rem .8rem .3rem 0; border-top: 1px solid #8884; vertical-align: top; }
.yes { color: light-dark(#067a3c, #5fd38d); } .no { color: light-dark(#b3261e, #ff8a80); }
"""


def to_html(explanation: Explanation, title: str) -> str:
    """The whole page; it needs no other file."""
    figures = "".join(_figure(moment) for moment in pick(explanation.strip))
    rows = "".join(
        f'<tr><td class="{"yes" if reason.passed else "no"}">{"✓" if reason.passed else "✗"}</td>'
        f"<td>{html.escape(reason.stage)}</td><td>{html.escape(reason.text)}</td></tr>"
        for reason in explanation.reasons
    )
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{html.escape(title)}</title>'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<style>{STYLE}</style><h1>{html.escape(title)}</h1>"
        f'<div class="strip">{figures}</div><table>{rows}</table></html>\n'
    )


def _figure(moment: Moment) -> str:
    import cv2

    _, jpeg = cv2.imencode(".jpg", draw(moment), [cv2.IMWRITE_JPEG_QUALITY, 80])
    data = base64.b64encode(jpeg.tobytes()).decode()
    told = ", ".join(f"{event.type} {event.after.label}" for event in moment.outcome.events)
    told = told or ("" if moment.outcome.look.open else "not looked at")
    caption = html.escape(f"{moment.at_s:.2f} s {told}")
    picture = f'<img alt="{caption}" src="data:image/jpeg;base64,{data}">'
    return f"<figure>{picture}<figcaption>{caption}</figcaption></figure>"


def draw(moment: Moment) -> Image:
    """The frame, 320 pixels wide, with a box around each track: thick where it is seen now."""
    import cv2

    image = moment.frame.image
    scale = WIDTH / image.shape[1]
    small = np.ascontiguousarray(cv2.resize(image, (WIDTH, max(1, round(image.shape[0] * scale)))))
    for track in moment.outcome.tracks:
        x1, y1, x2, y2 = (round(pixel * scale) for pixel in track.box)
        colour = (80, 220, 60) if not track.missed else (60, 160, 255)
        cv2.rectangle(small, (x1, y1), (x2, y2), colour, 1 if track.missed else 2)
        name = f"{track.label} {track.id}"
        cv2.putText(small, name, (x1, max(y1 - 4, 10)), cv2.FONT_HERSHEY_SIMPLEX, 0.4, colour, 1, cv2.LINE_AA)
    return small
