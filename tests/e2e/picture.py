"""QR codes as a camera sees them: drawn by librsvg or by hand, read by zbar."""

import subprocess

SCALE = 6
DARK, LIGHT = 0, 255


def svg_to_png(svg, path, background):
    """Renders an SVG on a page of some colour."""
    command = ["rsvg-convert", "--background-color", background, "--output", path]
    subprocess.run([*command, "--width", "600", "/dev/stdin"], input=svg.encode(), check=True)


def text_to_pgm(text, path):
    """Draws half blocks as a dark terminal does: a block is light, what is no block is dark."""
    rows = []
    for line in text.split("\n"):
        rows.append([LIGHT if c in "█▀" else DARK for c in line])
        rows.append([LIGHT if c in "█▄" else DARK for c in line])
    width = max(map(len, rows))
    assert all(len(row) == width for row in rows), "ragged lines"
    pixels = bytearray()
    for row in rows:
        pixels += bytes(pixel for pixel in row for _ in range(SCALE)) * SCALE
    header = f"P5 {width * SCALE} {len(rows) * SCALE} 255\n"
    path.write_bytes(header.encode() + pixels)


def read_qr(path):
    """The text in the one QR code of a picture."""
    command = ["zbarimg", "--quiet", "--raw", "-Sdisable", "-Sqrcode.enable", path]
    output = subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout
    return output.decode().removesuffix("\n")
