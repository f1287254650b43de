"""What a file that is no readable image looks like, for the message that refuses it."""

# What charts come in. Pillow opens more, among them PostScript, for which it starts another program.
FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF")
BEGINNINGS = (
    (b"\x89PNG\r\n\x1a\n", "PNG"),
    (b"\xff\xd8\xff", "JPEG"),
    (b"GIF8", "GIF"),
    (b"BM", "BMP"),
    (b"II*\0", "TIFF"),
    (b"MM\0*", "TIFF"),
    (b"%PDF", "PDF"),
    (b"%!PS", "PostScript"),
    (b"8BPS", "Photoshop's PSD"),
    (b"\0\0\1\0", "an icon (ICO)"),
    (b"\0\0\0\x0cjP  ", "JPEG 2000"),
    (b"\0\0\0\x0cJXL ", "JPEG XL"),
    (b"\xff\x0a", "JPEG XL"),
    (b"PK\3\4", "a ZIP archive or an office document"),
    (b"\x1f\x8b", "a gzip archive"),
    (b"\x93NUMPY", "a NumPy array"),
    (b"version https://git-lfs", "a Git LFS pointer (git lfs pull fetches the file)"),
    (b"data:image", "a data URL"),
)
_BRANDS = {b"avif": "AVIF", b"avis": "AVIF", b"heic": "HEIC", b"heix": "HEIC", b"mif1": "HEIC", b"msf1": "HEIC"}


def looks_like(content: bytes) -> str:
    """ "HEIC", "an HTML page", "a damaged PNG", ...: a guess from the first bytes, in words."""
    if not content:
        return "an empty file"
    kind = next((kind for beginning, kind in BEGINNINGS if content.startswith(beginning)), None)
    if content[:4] == b"RIFF" and content[8:12] == b"WEBP":
        kind = "WEBP"
    if kind is not None:
        return f"{kind} that is damaged, cut short or of a rare sort" if kind in FORMATS else kind
    if content[4:8] == b"ftyp":
        return _BRANDS.get(content[8:12], "a video")
    return _text(content[:1000]) or f"no known kind (first bytes {content[:8].hex(' ')})"


def _text(beginning: bytes) -> str | None:
    text = beginning.decode("utf-8", "ignore").lstrip("\ufeff \t\r\n").lower()
    if "<svg" in text:
        return "SVG"
    if text.startswith(("<!doctype html", "<html")):
        return "an HTML page"
    return "text" if text and all(c.isprintable() or c.isspace() for c in text) else None
