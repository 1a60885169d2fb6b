"""Figures of articles, as pages of several years write them; `srcset` by the rules of HTML."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clip_italian.sources.figures import Figure, absolute, article, srcset


def figures(html):
    return article(html).figures


def best(attributes):
    """The picture that is taken of an <img>."""
    return figures(f"<figure><img {attributes}></figure>")[0].images[0]


def test_a_figure():
    html = "<figure><img src='a.jpg'><figcaption>Un cane</figcaption></figure>"
    assert figures(html) == (Figure(("a.jpg",), "Un cane"),)


@pytest.mark.parametrize(
    ("inner", "expected"),
    [
        (" Un <em>cane</em>,\n l'<a href='#'>Orlando</a> ", "Un cane, l'Orlando"),
        ("<p>Un cane.</p><p>Un gatto.</p>", "Un cane. Un gatto."),
        ("Un cane<br>e un gatto<small>uno</small>", "Un cane e un gatto uno"),
        ("Un cane<script>no()</script><style>x</style><span class='x credit'>ANSA</span>", "Un cane"),
        ("Caff&egrave; &amp; t&#232;&nbsp;&lt;3", "Caffè & tè <3"),
        ("<span>", ""),
        ("<!-- no -->", ""),
    ],
)
def test_text_of_captions(inner, expected):
    assert figures(f"<figure><img src=a><figcaption>{inner}</figcaption></figure>")[0].caption == expected


def test_what_wordpress_wrote():
    html = """
        <div id="attachment_1" class="wp-caption alignnone"><a href="x"><img src="a.jpg"></a>
          <p class="wp-caption-text">Un cane</p></div>
        <dl class="gallery-item"><dt><img src="b.jpg"></dt><dd class="gallery-caption">Un gatto</dd></dl>
        <figure class="wp-caption"><img src="c.jpg"><figcaption class="wp-caption-text">Un topo</figcaption></figure>
        <div class="wp-caption"><figure><img src="d.jpg"></figure><p class="wp-caption-text">Un orso</p></div>
    """
    assert [(f.images[0], f.caption) for f in figures(html)] == [
        ("a.jpg", "Un cane"), ("b.jpg", "Un gatto"), ("c.jpg", "Un topo"), ("d.jpg", "Un orso"),
    ]  # fmt: skip


def test_what_il_post_writes_today():
    """The photo at the head, one inside the text, and a gallery whose captions stand on pages of their own."""
    uploads = "https://static.example/wp-content/uploads/2026/06/10"
    html = f"""<article><div class="index_main-content__image___g7jQ"><figure><img src="{uploads}/1-a.jpg" alt="x">
        <figcaption>Un vagone fermo, il 4 giugno<br>(Valeria Chiari/il Post)</figcaption></figure></div>
        <figure id="attachment_1" class="wp-caption alignnone"><img loading="lazy" class="wp-image-1 size-full"
        src="{uploads}/2-b.jpg" width="980" height="653" srcset="{uploads}/2-b.jpg 980w, {uploads}/400x267/2-b.jpg 400w"
        sizes="(max-width: 980px) 100vw, 980px"><figcaption class="wp-caption-text" style="--width: 100%">Un tram (AP
        Photo/Mario Rossi)</figcaption></figure>
        <div class="gallery"><figure class="gallery-item"><div class="gallery-icon"><a href="/foto/"><img loading="lazy"
        src="{uploads}/3-c.jpg" alt=""></a></div></figure></div></article>"""
    assert [(found.images[0], found.caption) for found in figures(html)] == [
        (f"{uploads}/1-a.jpg", "Un vagone fermo, il 4 giugno (Valeria Chiari/il Post)"),
        (f"{uploads}/2-b.jpg", "Un tram (AP Photo/Mario Rossi)"),
        (f"{uploads}/3-c.jpg", ""),
    ]


def test_a_gallery_is_its_figures():
    one = "<figure><img src='{0}.jpg'><figcaption>Foto {0}</figcaption></figure>"
    html = f"<figure>{one.format(1)}{one.format(2)}<figcaption>Tutte</figcaption></figure>"
    assert figures(html) == (Figure(("1.jpg",), "Foto 1"), Figure(("2.jpg",), "Foto 2"))


@pytest.mark.parametrize(
    "inner", ["<table></table>", "<iframe src=x></iframe>", "<blockquote>x</blockquote>", "<video>"]
)
def test_figures_without_photos(inner):
    assert figures(f"<figure>{inner}<figcaption>x</figcaption></figure>") == ()


@pytest.mark.parametrize(
    ("attributes", "expected"),
    [
        ("src=a.jpg", "a.jpg"),
        ("src=blank.gif data-src=a.jpg", "a.jpg"),
        ("src=blank.gif data-lazy-src=a.jpg", "a.jpg"),
        ("src='data:image/gif;base64,R0lG==' data-src=a.jpg", "a.jpg"),
        ("src=a-300x200.jpg srcset='a-300x200.jpg 300w, a-1024x683.jpg 1024w, a-768x512.jpg 768w'", "a-1024x683.jpg"),
        ("src=blank.gif data-srcset='a.jpg 640w, b.jpg 1280w'", "b.jpg"),
        ("srcset='data:image/gif;base64,R0lG== 9999w' data-lazy-srcset='a.jpg 2x, b.jpg 1x'", "a.jpg"),
        ("src=a.jpg srcset='a.jpg, b.jpg 1.5x, c.jpg 3x'", "c.jpg"),
        ("src=a-1024x683.jpg?q=1 data-orig-file=a.jpg", "a.jpg"),
        ("src=/2026/05/25/680x453/17-a.jpg data-src=/2026/05/25/300x200/17-a.jpg", "/2026/05/25/680x453/17-a.jpg"),
        ("src=a-800x600.jpg.webp data-src=a-400x300.jpg", "a-800x600.jpg.webp"),
        ("src=a-150x150.jpg data-src=b-1024x683.jpg", "b-1024x683.jpg"),
    ],
)
def test_the_largest_picture(attributes, expected):
    assert best(attributes) == expected


@pytest.mark.parametrize(
    "inner",
    [
        "<picture><img src='/up/1-150x150.jpg' data-lazy-src='/up/1.jpg'></picture>",
        "<img src='/up/1.jpg' data-src='/up/1-300x200.jpg'>",
        "<a href='/up/1.jpg'><img src='/up/1-300x200.jpg'></a>",
        "<a href='/up/1.jpg'><img src='/up/1-300x200.jpg' srcset='/up/1-300x200.jpg 300w, /up/1-768x512.jpg 768w'></a>",
        "<picture><source srcset='/up/1-300x200.jpg'><img src='/up/1-150x150.jpg' data-src='/up/1.jpg'></picture>",
    ],
)
def test_the_whole_picture_beside_its_thumbnail(inner):
    for html in (
        f"<figure>{inner}<figcaption>x</figcaption></figure>",
        f"<div class=wp-caption>{inner}<p class=wp-caption-text>x</p></div>",
    ):
        (figure,) = figures(html)
        assert (figure.images[0], figure.caption) == ("/up/1.jpg", "x")


@pytest.mark.parametrize("link", ["/foto/", "/up/other.jpg", "/up/1.pdf"])
def test_links_to_other_things_are_no_pictures(link):
    (figure,) = figures(f"<figure><a href='{link}'><img src='/up/1-300x200.jpg'></a></figure>")
    assert figure.images == ("/up/1-300x200.jpg",)


@pytest.mark.parametrize("tag", ["aside", "nav", "footer", "header"])
def test_nothing_from_beside_the_article(tag):
    advert = f"<{tag}><div><figure><img src=ad.jpg><figcaption>Compra</figcaption></figure></div></{tag}>"
    photo = "<figure><img src=a.jpg><figcaption>Un cane</figcaption></figure>"
    assert figures(f"{advert}<article><header>{photo}</header></article>") == (Figure(("a.jpg",), "Un cane"),)
    if tag != "header":
        assert figures(f"<main><article>{photo}{advert}</article></main>") == (Figure(("a.jpg",), "Un cane"),)


def test_pictures_and_noscript():
    html = (
        "<figure><picture><source type=image/avif srcset='a.avif 3000w'><source srcset='a.webp 800w, b.webp 1600w'>"
        "<img src=blank.gif></picture><figcaption>x</figcaption></figure>"
    )
    assert figures(html)[0].images == ("b.webp", "a.webp", "blank.gif")
    html = "<figure><img src='data:,'><noscript><img src='a.jpg'></noscript><figcaption>x</figcaption></figure>"
    assert figures(html) == (Figure(("a.jpg",), "x"),)


def test_what_the_page_says_of_itself():
    html = "<link rel='shortlink canonical' href=' http://h/a '><base href='/b/'>"
    html += "<meta property='og:image' content='o.jpg'>"
    assert article(html)[:3] == ("http://h/a", "/b/", "o.jpg")
    assert article("<meta property='og:url' content='http://h/u'>").canonical == "http://h/u"
    assert article("") == (None, None, None, ())


@pytest.mark.parametrize(
    ("address", "base", "expected"),
    [
        ("/a.jpg", "https://h/x/y", "https://h/a.jpg"),
        ("a.jpg", "https://h/x/y", "https://h/x/a.jpg"),
        ("//cdn/a.jpg", "http://h/", "http://cdn/a.jpg"),
        ("//cdn/a.jpg", None, "https://cdn/a.jpg"),
        (" http://h/a b%20c.jpg\n", None, "http://h/a%20b%20c.jpg"),
        ("http://h/città.jpg", None, "http://h/citt%C3%A0.jpg"),
        ("a.jpg", None, None),
        ("/a.jpg", None, None),
        ("mailto:a@b", "http://h/", None),
        ("http://[::1", "http://h/", None),
        ("", None, None),
    ],
)
def test_absolute(address, base, expected):
    assert absolute(address, base) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", []),
        (" , ,", []),
        ("a", [("a", "")]),
        ("a 1x,b 2x", [("a", "1x"), ("b", "2x")]),
        ("a, b 2x", [("a", ""), ("b", "2x")]),
        ("a,b 2x", [("a,b", "2x")]),
        ("http://h/w_300,h_200/a.jpg 300w,\n http://h/b.jpg 600w", [("http://h/w_300,h_200/a.jpg", "300w"),
                                                                    ("http://h/b.jpg", "600w")]),
        ("data:image/gif;base64,R0lG 1w, a 2w", [("data:image/gif;base64,R0lG", "1w"), ("a", "2w")]),
        ("a x(1,2) 3w, b 1w", [("a", "x(1,2) 3w"), ("b", "1w")]),
        ("a (", [("a", "(")]),
        ("a 300w 200h , b", [("a", "300w 200h"), ("b", "")]),
    ],
)  # fmt: skip
def test_srcset(text, expected):
    assert srcset(text) == expected


ADDRESS = st.from_regex(r"[a-z/:.?=&][a-z,;()/:.]{0,8}[a-z/:.?=&]", fullmatch=True)
DESCRIPTOR = st.one_of(st.integers(1, 9_999).map("{}w".format), st.sampled_from(["1x", "2x", "1.5x", "100w 50h"]))


@given(st.lists(st.tuples(ADDRESS, DESCRIPTOR)), st.data())
def test_a_written_srcset_is_read_back(candidates, data):
    space = st.text(" \t\n", max_size=2)
    text = "".join(f"{data.draw(space)}{url} {descriptor}{data.draw(space)}," for url, descriptor in candidates)
    assert srcset(text) == candidates


@given(st.text(alphabet="a1wx,() \n", max_size=60))
def test_any_srcset_ends(text):
    assert all(url and not url.endswith(",") and " " not in url for url, _ in srcset(text))
