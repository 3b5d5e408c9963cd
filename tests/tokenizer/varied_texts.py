"""Short texts that tokenizers stumble over."""

VARIED = [
    "",
    " ",
    "   ",
    "hello  world",
    " leading and trailing ",
    "line\r\nline\n\n\n  indented\tand tabbed",
    "def f(x):\n    return x**2 + 0x1F  # 12345\n",
    "I'm, you're, WE'LL; it's 'quoted' — and so on…",
    "Grüße, naïve café, ΑΒΓ, кириллица, עברית, العربية",
    "日本語のテキスト。中文文本！한국어",
    "☃️ 👩‍👩‍👧‍👦 𝄞 \U0010ffff \x00 \u200b \ufeff",
    "e\u0301 is not \u00e9",
    "<s> </s> <unk> <0x0A> <|endoftext|> <|pad|> [SEP]",
]
