#!/usr/bin/env python3
"""Makes the sample PDFs in `papers/`: each by another program, so that the table is tried on what the world's
producers really write. The text and pictures are this project's own.

Needs, beside Python packages (pip install reportlab fpdf2 matplotlib weasyprint typst cairocffi PyMuPDF img2pdf pillow),
the programs groff, ghostscript, qpdf and LibreOffice Writer. Users need none of it: the PDFs are committed.
Usage: make_papers.py [OUTPUT_FOLDER]
"""

import io
import math
import random
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

PARAGRAPHS = {
    "Ropes": "A virtual file is a sequence of segments. Some are literal bytes that we make: magic numbers, page headers, "
    "small columns, a footer. The others are references: a range of bytes of an object that exists already. Whoever "
    "reads the file reads the object, and no copy was ever made.",
    "Layout": "Parquet permits a column whose pages are neither compressed nor encoded in any clever way. An artifact in "
    "such a page lies in the file verbatim, behind some thirty bytes of header. Its position follows from sizes alone, so "
    "the whole file can be described before a single byte of it has been seen.",
    "Change": "Objects change. A reference therefore carries the ETag of the object it was made from, and is read under "
    "the condition that it still holds. If it does not, the reader gets an error, never a mixture of old and new.",
    "Cost": "Listing a bucket of a million objects takes a thousand requests. Copying it takes two million, the transfer "
    "of every byte, and a second bill for storage. This is the argument for not copying, in one line.",
}
LINK = "https://www.example.org/vdt"


def by_reportlab(out: Path):
    from reportlab.lib.pagesizes import A4
    from reportlab.lib.styles import getSampleStyleSheet
    from reportlab.lib.units import cm
    from reportlab.platypus import PageBreak, Paragraph, SimpleDocTemplate, Spacer, Table

    style = getSampleStyleSheet()
    story = [Paragraph("An algebra of ropes", style["Title"])]
    for number, (head, text) in enumerate(PARAGRAPHS.items(), 1):
        story += [
            Paragraph(f"{number}. {head}", style["Heading2"]),
            Paragraph(text, style["BodyText"]),
            Spacer(1, cm / 2),
        ]
        story += [Paragraph(f'See also <a href="{LINK}#{head}" color="blue">{LINK}#{head}</a>.', style["BodyText"])]
        story += [Table([["operation", "result"], ["slice", "rope"], ["concat", "rope"], ["length", "bytes"]])]
        story += [PageBreak()] if number < len(PARAGRAPHS) else []
    SimpleDocTemplate(str(out), pagesize=A4, title="An algebra of ropes", author="vdt", invariant=1).build(story)


def by_fpdf2(out: Path):
    from fpdf import FPDF

    pdf = FPDF(format="A5")
    pdf.set_title("Field notes")
    for day, (head, text) in enumerate(PARAGRAPHS.items(), 1):
        pdf.add_page()
        pdf.set_font("Helvetica", "B", 16)
        pdf.cell(0, 12, f"Day {day}: {head}", new_x="LMARGIN", new_y="NEXT", link=LINK)
        pdf.set_font("Helvetica", size=11)
        pdf.multi_cell(0, 6, text)
    pdf.output(str(out))


def by_matplotlib(out: Path):
    import matplotlib

    matplotlib.use("pdf")
    from matplotlib import pyplot as plt

    targets = [2**i for i in range(4, 27)]
    figure, axes = plt.subplots(figsize=(6, 4))
    for size in (1e9, 1e10, 1e11):
        axes.loglog(targets, [480 * size / s + s for s in targets], label=f"{size / 1e9:.0f} GB table")
    axes.set_xlabel("row group target, bytes")
    axes.set_ylabel("bytes read by one lookup")
    axes.set_title("Footer against row group")
    axes.legend()
    axes.grid(alpha=0.3)
    figure.savefig(out, metadata={"Title": "Row group targets", "CreationDate": None})


def by_weasyprint(out: Path):
    from weasyprint import HTML

    rows = "".join(
        f"<tr><td>{i}</td><td>Größe {i * 7} · Prüfstück</td><td>{i * 13.5:.2f} €</td></tr>" for i in range(1, 13)
    )
    HTML(
        string=f"""<html lang="de"><head><title>Rechnung 0042</title><style>
        @page {{ size: A4; margin: 2cm; @bottom-center {{ content: counter(page) " / " counter(pages) }} }}
        table {{ width: 100%; border-collapse: collapse }} td {{ border-bottom: 1px solid #999; padding: 4pt }}
        h1 {{ color: #245 }}</style></head><body><h1>Rechnung 0042</h1><p>Frau Müller, Übermorgenstraße 7</p>
        <p><a href="{LINK}">{LINK}</a></p><table>{rows}</table></body></html>"""
    ).write_pdf(out)


def by_typst(out: Path):
    import typst

    sections = "\n\n".join(f"= {head}\n{text}" for head, text in PARAGRAPHS.items())
    source = f"""#set document(title: "Where bytes lie", author: "vdt")
#set page(paper: "a4", columns: 2, numbering: "1")
#align(center, text(17pt)[*Where bytes lie*])
{sections}

The offset of artifact $n$ is $ o_n = h + sum_(i=0)^(n-1) (s_i + 33) $ where $s_i$ is its size and $h$ what precedes them.
#link("{LINK}")[On the web.]
"""
    with tempfile.TemporaryDirectory() as d:
        Path(d, "paper.typ").write_text(source)
        out.write_bytes(typst.compile(str(Path(d, "paper.typ")), format="pdf"))


def by_groff(out: Path):
    body = "".join(f".NH 1\n{head}\n.PP\n{text}\n" for head, text in PARAGRAPHS.items())
    source = f".TL\nA manual of few words\n.AU\nvdt\n.AB\nTypeset by a program older than the format.\n.AE\n{body}"
    done = subprocess.run(["groff", "-ms", "-Tpdf"], input=source.encode(), capture_output=True, check=True)
    out.write_bytes(done.stdout)


def by_img2pdf(out: Path):
    """Two scanned pages: noisy JPEGs, stored in the PDF as they are."""
    import img2pdf
    from PIL import Image, ImageDraw, ImageFilter

    pages = []
    for page in (1, 2):
        image = Image.new("L", (1240, 1754), 246)
        draw = ImageDraw.Draw(image)
        at = random.Random(page)
        for line, (head, text) in enumerate(list(PARAGRAPHS.items()) * 3):
            draw.text(
                (120, 130 + line * 125),
                f"{head.upper()}\n{text[:110]}\n{text[110:220]}",
                fill=30 + at.randrange(30),
                font_size=20,
            )
        for _ in range(1500):
            x, y = at.randrange(1240), at.randrange(1754)
            draw.point((x, y), fill=at.randrange(120, 200))
        image = image.rotate(at.uniform(-0.8, 0.8), fillcolor=235).filter(ImageFilter.GaussianBlur(0.6))
        jpeg = io.BytesIO()
        image.save(jpeg, "JPEG", quality=35, dpi=(150, 150))
        pages.append(jpeg.getvalue())
    out.write_bytes(img2pdf.convert(pages, title="A scan"))


def by_cairo(out: Path):
    import cairocffi as cairo

    surface = cairo.PDFSurface(str(out), 420, 420)
    c = cairo.Context(surface)
    for page in range(3):
        for i in range(240):
            angle, radius = i * 2.39996 + page, 12.5 * math.sqrt(i)
            c.set_source_rgba(0.2 + i / 400, 0.4, 0.9 - i / 400, 0.6)
            c.arc(210 + radius * math.cos(angle), 210 + radius * math.sin(angle), 3 + i / 60, 0, 2 * math.pi)
            c.fill()
        c.set_source_rgb(0, 0, 0)
        c.move_to(12, 408)
        c.show_text(f"plate {page + 1} of 3")
        c.show_page()
    surface.finish()


def by_ghostscript(out: Path):
    program = """%!PS-Adobe-3.0
/Helvetica findfont 14 scalefont setfont
/page { 72 720 moveto (PostScript, page ) show 8 string cvs show
  0 1 35 { gsave 300 400 translate 10 mul rotate 0.1 setlinewidth 0 0 moveto 200 0 rlineto 20 60 rlineto stroke grestore } for showpage } def
1 1 4 { page } for
"""
    with tempfile.TemporaryDirectory() as d:
        Path(d, "in.ps").write_text(program)
        subprocess.run(
            ["ps2pdf", "-dCompatibilityLevel=1.5", "-dEmbedAllFonts=false", str(Path(d, "in.ps")), str(out)], check=True
        )


def by_libreoffice(out: Path):
    text = "".join(f"<h2>{head}</h2><p>{body}</p>" for head, body in PARAGRAPHS.items())
    html = f"<html><head><title>A letter</title></head><body><p>To whom it may concern</p>{text}<p><a href='{LINK}'>vdt</a></p></body></html>"
    with tempfile.TemporaryDirectory() as d:
        Path(d, "letter.html").write_text(html)
        command = [
            "soffice",
            f"-env:UserInstallation=file://{d}/profile",
            "--headless",
            "--convert-to",
            "pdf:writer_web_pdf_Export",
            "--outdir",
            d,
        ]
        subprocess.run([*command, str(Path(d, "letter.html"))], check=True, capture_output=True, timeout=120)
        shutil.copyfile(Path(d, "letter.pdf"), out)


def by_pymupdf(out: Path):
    import pymupdf

    document = pymupdf.open()
    for head, text in PARAGRAPHS.items():
        page = document.new_page(width=640, height=360)
        page.draw_rect(page.rect, fill=(0.93, 0.95, 1), color=None)
        page.insert_text((40, 60), head, fontsize=30, color=(0.1, 0.2, 0.5))
        page.insert_textbox((40, 90, 600, 330), text, fontsize=16)
        page.insert_link({"kind": pymupdf.LINK_URI, "from": pymupdf.Rect(40, 330, 200, 350), "uri": LINK})
    document.set_metadata({"title": "Slides", "author": "vdt"})
    document.save(str(out), garbage=3, deflate=True)


def by_qpdf(out: Path):
    """Linearised, with object streams and a cross-reference stream: the modern shape of a file."""
    subprocess.run(
        ["qpdf", "--linearize", "--object-streams=generate", str(out.parent / "rope-algebra.pdf"), str(out)], check=True
    )


def by_hand(out: Path):
    """The least that is a PDF, with a cross-reference table counted by hand."""
    stream = b"BT /F1 24 Tf 40 90 Td (By hand.) Tj ET"
    objects = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 240 160] /Contents 5 0 R /Resources << /Font << /F1 4 0 R >> >> >>",
        b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
        b"<< /Length %d >>\nstream\n%s\nendstream" % (len(stream), stream),
    ]
    pdf, offsets = bytearray(b"%PDF-1.4\n"), []
    for number, body in enumerate(objects, 1):
        offsets.append(len(pdf))
        pdf += b"%d 0 obj\n%s\nendobj\n" % (number, body)
    table = len(pdf)
    pdf += b"xref\n0 %d\n0000000000 65535 f \n" % (len(objects) + 1)
    pdf += b"".join(b"%010d 00000 n \n" % o for o in offsets)
    pdf += b"trailer\n<< /Size %d /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF\n" % (len(objects) + 1, table)
    out.write_bytes(pdf)


PAPERS = {
    "rope-algebra.pdf": by_reportlab,
    "field-notes.pdf": by_fpdf2,
    "figures/row-group-targets.pdf": by_matplotlib,
    "figures/plates.pdf": by_cairo,
    "Rechnung 0042 – Müller.pdf": by_weasyprint,
    "where-bytes-lie.pdf": by_typst,
    "manual.pdf": by_groff,
    "scan.pdf": by_img2pdf,
    "postscript.pdf": by_ghostscript,
    "letter.pdf": by_libreoffice,
    "slides.pdf": by_pymupdf,
    "rope-algebra-linearized.pdf": by_qpdf,
    "by-hand.pdf": by_hand,
}


def main():
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).resolve().parent / "papers"
    for name, make in PAPERS.items():
        out = folder / name
        out.parent.mkdir(parents=True, exist_ok=True)
        make(out)
        print(f"{out.stat().st_size:>9,} B  {name}  ({make.__name__.removeprefix('by_')})")


if __name__ == "__main__":
    main()
