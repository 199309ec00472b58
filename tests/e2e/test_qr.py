"""QR codes, read by an independent decoder."""

import xml.etree.ElementTree as ElementTree

import pytest

from picture import read_qr, svg_to_png, text_to_pgm
from refusal import BAD_ARGUMENT, refused
from text import NAMES, by_name

NORMAL_LIMIT = 8 * 1024
SVG = "{http://www.w3.org/2000/svg}"
URI = (
    "otpauth://totp/Example%20Company:alice%40example.com?secret=GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ"
    "&issuer=Example%20Company&algorithm=SHA1&digits=6&period=30"
)


@pytest.fixture
def picture(tmp_path):
    return tmp_path / "picture"


@pytest.mark.parametrize("page", ["white", "black", "none"])
def test_zbar_reads_the_svg_on_any_page(app, account, picture, page):
    created = app.create(account, issuer="Example Company")
    svg_to_png(created.qr_svg, picture, page)
    assert read_qr(picture) == created.uri


def test_zbar_reads_the_half_blocks(app, stranger, account, picture):
    created = app.create(account, issuer="Example Company")
    text_to_pgm(stranger.value("SELECT totp.qr_text(%s)", created.uri), picture)
    assert read_qr(picture) == created.uri


@pytest.mark.parametrize("name", **by_name(NAMES))
def test_zbar_reads_uris_of_any_names(app, account, picture, name):
    created = app.create(account, issuer=name, account_name=name)
    svg_to_png(created.qr_svg, picture, "white")
    assert read_qr(picture) == created.uri


@pytest.mark.parametrize("length", [1, 2, 17, 100, 500, 1000])
def test_both_pictures_of_any_size_are_read(stranger, picture, length):
    data = ("otpauth://totp/" + "Aa0-._~%&=" * 100)[:length]
    svg_to_png(stranger.value("SELECT totp.qr_svg(%s)", data), picture, "black")
    assert read_qr(picture) == data
    text_to_pgm(stranger.value("SELECT totp.qr_text(%s)", data), picture)
    assert read_qr(picture) == data


def test_the_svg_of_a_normal_uri_is_small(app, stranger, account):
    assert len(stranger.value("SELECT totp.qr_svg(%s)", URI).encode()) <= NORMAL_LIMIT
    names = {
        "issuer": "Verwaltungsgesellschaft für Straßen",
        "account_name": "maximiliane.mustermann@verwaltung.example.com",
    }
    created = app.create(account, **names)
    assert len(created.qr_svg.encode()) <= NORMAL_LIMIT


def test_the_svg_is_xml_that_only_draws(app, account):
    created = app.create(account, issuer="<script>alert(1)</script>", account_name="'\"><x>&")
    root = ElementTree.fromstring(created.qr_svg)
    assert root.tag == f"{SVG}svg"
    assert {"viewBox", "width", "height"} <= set(root.keys())
    for element in root.iter():
        assert element.tag in {f"{SVG}{name}" for name in ("svg", "g", "rect", "path")}
        assert not element.text and not element.tail
        assert not any(name.startswith("on") or "href" in name for name in element.attrib)


def test_the_svg_of_totp_create_is_the_one_of_its_uri(app, account):
    created = app.create(account)
    assert app.value("SELECT totp.qr_svg(%s)", created.uri) == created.qr_svg


@pytest.mark.parametrize("function", ["qr_svg", "qr_text"])
@pytest.mark.parametrize(
    "data",
    [None, "", "x" * 5000, "x" * 10_000_000],
    ids=["NULL", "empty", "too long for a QR code", "10 MB"],
)
def test_data_that_fit_no_qr_code_are_refused(stranger, function, data):
    with refused(BAD_ARGUMENT, without=["xxxx"]):
        stranger.value(f"SELECT totp.{function}(%s)", data)


def test_names_as_long_as_they_may_be_fit_or_are_refused(app, account, picture):
    # 64 and 255 characters of four bytes each, all percent-encoded, are too much for any code.
    with refused(BAD_ARGUMENT):
        app.create(account, issuer="🔑" * 64, account_name="🔑" * 255)
    assert not app.status(account).pending
    created = app.create(account, issuer="ä" * 64, account_name="a" * 255)
    svg_to_png(created.qr_svg, picture, "white")
    assert read_qr(picture) == created.uri
