"""Sentences of documents that speak to a model instead of a reader.

They are found by patterns, in a dozen languages, as a model would read them: without characters
that nobody sees, without emphasis, letters set apart put together. A sentence that is found here
is not shown to a model. It may be harmless (a manual about prompts): it is still searched, and
quoted where it answers a question without a model.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from functools import cache, lru_cache

from linnet.grounding import claims

# Characters that nobody sees: of no width, of direction, tags, variation.
UNSEEN = re.compile(
    "[\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e"
    "\u2060-\u206f\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb\U000e0000-\U000e0fff]"
)
_TAGS = re.compile("[\U000e0020-\U000e007e]{4,}")
_SPACED = re.compile(r"(?<!\w)(?:\w[ .\-_*]){5,}\w(?!\w)")
_DISGUISING = re.compile("[\u202a-\u202e\u2066-\u2069\U000e0000-\U000e007f]")
_LOOKALIKES = str.maketrans("асеорхуіјѕԁһΑΒΕΗΙΚΜΝΟΡΤΥΧο", "aceopxyijsdhabehikmnoptyxo")
_MARKED = re.compile(r"[*_`~]+")


def _words(*alternatives: str) -> str:
    return "(?:" + "|".join(alternatives) + ")"


_EARLIER = _words(
    "previous", "prior", "above", "earlier", "preceding", "foregoing", "former", "original",
    "initial", "existing", "current", "other", "given", "system", "developer", "your", "the", "all",
    "any", "every", "these", "those", "such", "my", "of",
)  # fmt: skip
_ORDERS = _words(
    r"instructions?", r"prompts?", r"rules?", r"guidelines?", r"directions?", r"directives?",
    r"commands?", r"constraints?", r"messages?", r"polic(?:y|ies)", r"restrictions?",
    r"guardrails?", r"safety", r"filters?", r"context", r"orders?", r"training",
    "you (?:were|have been) (?:told|given)", "everything", "anything",
)  # fmt: skip
_MACHINE = _words(
    r"ai", r"a\.i\.", r"llms?", r"chat ?bots?", r"language models?", r"chatgpt", r"gpt(?:-?\d)?",
    r"claude", r"gemini", r"copilot", r"(?:ai |virtual |digital )?assistants?", r"models?",
    r"(?:ai )?agents?", r"bots?",
)  # fmt: skip

INSTRUCTIONS: dict[str, tuple[str, ...]] = {
    "overrides instructions": (
        rf"\b(?:ignore|disregard|forget|override|bypass|discard|skip|neglect|abandon|drop|"
        rf"violate)\b"
        rf"(?:\W+(?:about|from|with))?(?:\W+{_EARLIER}\b)*\W+{_ORDERS}",
        r"\b(?:do not|don'?t|stop|cease|no longer)\W+(?:follow|obey|comply|adher|respect|apply)\w*"
        rf"\b.{{0,30}}{_ORDERS}",
        r"\b(?:new|updated|real|actual|true|revised|additional|urgent|secret|hidden|important)\W+"
        r"(?:system\W+)?(?:instructions?|prompt|directives?|task|rules?)\b\W*"
        r"(?::|for|are|is|follow|to)",
        r"\b(?:ignore|disregard|forget|never ?mind|skip|drop)\b(?:\W+\w+){0,2}\W+(?:question|query|"
        r"request|user|task|conversation|topic)\b",
        r"\b(?:forget|ignore|disregard)\b.{0,12}\b(?:what|whatever|that|how)\b",
        r"\b(?:instead|rather)\b.{0,20}\b(?:follow|obey|execute|carry out|perform)\b",
        r"\b(?:follow|obey|execute|carry out)\b.{0,25}\b(?:these|this|following|below|next|my)\b"
        r".{0,15}\b(?:instructions?|commands?|orders?|steps? instead)\b",
        r"\b(?:end|begin|start) of (?:the )?(?:system |user )?(?:prompt|instructions?|context|"
        r"passages?|documents?)\b",
        # German, French, Spanish, Italian, Portuguese, Dutch
        r"\b(?:ignorier|vergiss|vergesst|missacht|befolg|umgeh)\w*\b.{0,40}"
        r"\b(?:anweisung|anleitung|vorgabe|regel|befehl|instruktion|prompt)\w*",
        r"\b(?:ignore[zr]?|oublie[zr]?|n[ée]glige[zr]?|contourne[zr]?)\b.{0,40}"
        r"\b(?:instructions?|consignes?|r[èe]gles?|directives?|ordres?)\b",
        r"\b(?:ignor[ae]\w*|olvid[ae]\w*|desatiend\w+|omit[ae]\w*|esque[çc]\w+|desconsider\w+|"
        r"dimentica\w*)\b.{0,40}\b(?:instruc|instru[çc]|istruzion|[óo]rdenes|reglas|regras|regole|"
        r"indicaciones|directri)\w*",
        r"\bnegeer\b.{0,40}\b(?:instructies|opdrachten|regels)\b",
        # Russian, Ukrainian, Polish, Turkish
        r"(?:игнорируй|проигнорируй|забудь|не обращай внимания|ігноруй|забудьте)\w*.{0,50}"
        r"(?:инструкци|указани|правил|команд|інструкці|вказівк)\w*",
        r"\b(?:zignoruj|ignoruj|zapomnij)\w*.{0,40}(?:instrukcj|polece|zasad)\w*",
        r"(?:talimat|komut|kural)\w*.{0,30}(?:yok say|görmezden gel|unut)\w*",
        # Chinese, Japanese, Korean, Arabic, Hindi
        r"(?:忽略|无视|無視|忘记|忘記|不要遵守|忽視).{0,20}(?:指令|指示|说明|說明|规则|規則|提示)",
        r"(?:指示|命令|指令|ルール|プロンプト).{0,12}(?:無視|忘れ|従わな)",
        r"(?:지시|명령|규칙|프롬프트).{0,12}(?:무시|잊)",
        r"(?:تجاهل|انس|تجاهلوا).{0,40}(?:التعليمات|الأوامر|القواعد|تعليمات)",
        r"(?:निर्देश|आदेश|नियम).{0,40}(?:अनदेखा|भूल|नज़रअंदाज)",
    ),
    "speaks to a model": (
        rf"\b(?:if|when|as|since|because) (?:you are|you'?re|being|an?)\W+(?:an? |"
        rf"the )?{_MACHINE}\b",
        rf"\b(?:attention|note|notice|message|instructions?|hint|reminder|dear|hey|hello|hi|to|for)"
        rf"\W+(?:to |for )?(?:all |any |the |an? |every )*{_MACHINE}\b\s*(?:[:,!]|reading|process|"
        rf"that)",
        r"\b(?:ai|llm|language)\W+(?:assistants?|models?|agents?|systems?)\b.{0,30}"
        r"\b(?:must|should|shall|need to|have to|are required|is required|please)\b",
        r"\byou(?: a|')re (?:now|no longer|henceforth)\b",
        r"\b(?:from now on|henceforth|starting now)\b.{0,20}\b(?:you|your|answer|reply|respond|"
        r"always|act)\b",
        r"\b(?:act|behave|roleplay|role-play|pretend|pose|respond|answer)\b.{0,12}\b"
        r"(?:as (?:if|though|an?|the)|to be|like an?)\b.{0,40}"
        r"\b(?:unrestricted|no (?:rules|restrictions|limits|filter)|jailbr\w+|dan\b|hacker|"
        r"admin\w*|"
        r"root|developer|evil|system|pirate|different|another)",
        r"\b(?:jailbreak|do anything now|developer mode|god mode|sudo mode|debug mode|admin mode|"
        r"maintenance mode|unrestricted mode)\b",
        r"\b(?:reveal|print|show|repeat|output|display|leak|disclose|expose|tell me|share|"
        r"reproduce|"
        r"recite|summari[sz]e|translate|list)\b.{0,40}\b(?:system|developer|hidden|secret|initial|"
        r"internal|confidential|original)\W+(?:prompts?|instructions?|messages?|rules|policy|"
        r"documents?|passages?|data|collections?)\b",
        r"\b(?:your|the) (?:system|hidden|initial) (?:prompt|instructions?|message)\b",
        r"\bwhen (?:asked|answering|you (?:answer|are asked|reply|respond|summari[sz]e)|"
        r"someone asks|"
        r"a user asks|the user asks|users? asks?|questioned|replying|responding)\b.{0,80}"
        r"\b(?:say|answer|reply|respond|state|tell|claim|write|recommend|mention|include|add|"
        r"insist|"
        r"output|always|never|only)\b",
        r"\b(?:your|the) (?:(?:final|next|only|entire|whole|complete|full) )?(?:answer|reply|"
        r"response|"
        r"output)\b.{0,20}\b(?:must|should|shall|has to|needs to|is|will)\b.{0,20}\b"
        r"(?:be|contain|include|begin|start|end|say|consist|exactly|only|now)\b",
        r"\b(?:say|reply|respond|answer|output|print|write|repeat|return|emit|type|echo|append|"
        r"insert|"
        r"include|add|begin|start|end|finish|conclude)\b\W+(?:to (?:every|all|any)\W+\w+\W+)?"
        r"(?:only|exactly|just|nothing but|verbatim|with|by|the (?:word|words|phrase|string|text|"
        r"sentence|token|code|following|link)|this|to every|in)\b.{0,60}(?:[\"'“:]|\b[A-Z0-9]"
        r"{2,}[-_]\w+|\beach|every (?:answer|reply|response|sentence)|\b(?:your|the|each) "
        r"(?:answer|reply|response|message|output))",
        r"\b(?:if|when|whenever|once|as soon as|every time|each time)\b.{0,20}\b(?:users?|someone|"
        r"somebody|anyone|anybody|people|they|customers?|summari[sz]ing|answering|quoting|citing|"
        r"reading)\b.{0,40}\b(?:asks?|this|about)\b.{0,60}\b(?:tell|say|answer|recommend|mention|"
        r"reply|respond|claim|write|output|include|insist)\b",
        r"\b(?:must|should|shall) (?:say|answer|reply|respond|write|output|mention|state|repeat)\b",
        r"\b(?:print|say|write|output|repeat|reply|answer|type)\b.{0,40}\b(?:and )?nothing else\b",
        r"\b(?:repeat after me|simon says)\b",
        r"\byour (?:next |own |new |only |final )?(?:reply|answer|response|output|instructions?|"
        r"persona|"
        r"prompt|task|guidelines|programming|training)\b",
        rf"\b{_MACHINE},? (?:reading this|processing this|your|please|kindly)\b",
        r"\b(?:asks?|wants?|requires?|requests?|expects?|instructs?|commands?|mandatory|"
        r"order)\b.{0,20}"
        r"\b(?:the |an? |any |all |every )?(?:ais?|llms?|chat ?bots?|language models?|you|"
        r"assistants?|"
        r"models?|summari[sz]ers?)\b.{0,8}\bto (?:write|say|answer|reply|respond|state|output|"
        r"give)\b",
        r"\b(?:the|an?|any|every|all) (?:ais?|llms?|chat ?bots?|language models?|assistants?|"
        r"summari[sz]ers?)\b.{0,6}\b(?:writes?|says?|answers?|repl(?:y|ies)|responds?|outputs?|"
        r"gives?)\b",
        r"\b(?:chat ?bots?|llms?|language models?|summari[sz]ers?)\b\s*[:,]",
        r"\byou (?:must|will|shall|have to|are to) (?:now |always |only |therefore )?(?:comply|"
        r"obey|say|"
        r"answer|reply|respond|write|output|pretend)\b",
        r"\b(?:admin\w*|system|security|developer|root|safety) (?:override|bypass|mode|notice|"
        r"alert)\b",
        r"\bwhat(?:ever|soever) the (?:question|query|request)\b",
        r"\b(?:say|print|write|output|repeat|type)\b\W.{1,40}\b(?:\d+|two|three|four|five|ten|"
        r"many|a "
        r"hundred) times\b",
        r"\b(?:begin|start|end|finish|open|close|prefix|precede|conclude|sign)\b.{0,12}\b(?:your|"
        r"the|"
        r"each|every|all|any) (?:answer|reply|response|message|output|sentence)s?\b",
        r"\banswer to (?:every|any|all|each) (?:questions?|query|queries)\b",
        r"\b(?:unmask|deanonymi[sz]e|de-anonymi[sz]e|unredact)\b",
        r"\b(?:list|show|print|reveal|dump|output|quote|copy|display)\b.{0,12}\b(?:all|every|each|"
        r"the "
        r"other)\b.{0,20}\b(?:documents?|passages?|collections?|conversations?)\b",
        r"\b(?:refuse|decline) to (?:answer|help|respond|reply)\b",
        r"\b(?:tell|inform|convince|persuade|ask|instruct|warn|urge|direct) (?:the|your|every|all|"
        r"any) "
        r"(?:users?|readers?|customers?|humans?|person|people)\b",
        r"\b(?:switch|route|escalate|forward|hand over|delegate|redirect|"
        r"transfer)\b.{0,40}\b(?:to|this|"
        r"the)\b.{0,30}\b(?:model|gpt|cloud|larger|bigger|remote|external|endpoint|provider|router|"
        r"api|server)\b",
        r"\b(?:use|select|choose|pick|set|call)\b.{0,20}\b(?:the )?(?:larger|cloud|remote|external|"
        r"biggest|most expensive) (?:model|provider|endpoint)\b",
        r"\b(?:disable|turn off|switch off|deactivate|remove|lift|lower|suspend|unmask|unlock|"
        r"deactivate|set)\b.{0,40}\b(?:guard ?rails?|guards?|mask\w*|filters?|safety|polic(?:y|"
        r"ies)|"
        r"privacy|threshold|gate|restrictions?|redact\w*|access controls?|permissions?|"
        r"moderation)\b",
        r"\b(?:grant|give)\b.{0,20}\b(?:admin\w*|root|full|unlimited) (?:access|rights|"
        r"permissions?|"
        r"privileges?)\b",
        r"\b(?:search|open|read|load|query|include|use|quote|cite|merge|dump|print|list|"
        r"show)\b.{0,30}"
        r"\b(?:all|other|every|another|hidden|private|staff|secret|confidential|any other)\b.{0,20}"
        r"\b(?:collections?|documents?|passages?|files?|records?|indexes)\b.{0,60}\b(?:answer|"
        r"reply|"
        r"response|too|as well|instead|user|now|here|into|verbatim)\b",
        r"\b(?:do not|don'?t|never)\b.{0,20}\b(?:mention|tell|reveal|inform|cite|quote|disclose)\b"
        r".{0,40}\b(?:this|user|instruction|source|citation|passage|injection)",
        r"\bdu bist (?:jetzt|nun|ab sofort)\b",
        r"\b(?:antworte|schreibe|gib)\b.{0,20}\b(?:nur|ausschließlich|immer|stets|genau)\b",
        r"\btu es (?:maintenant|désormais)\b|\bvous êtes (?:maintenant|désormais)\b",
        r"\br[ée]ponds?(?:ez)?\b.{0,20}\b(?:seulement|uniquement|toujours|exactement)\b",
        r"\b(?:ahora eres|a partir de ahora)\b|\bresponde\b.{0,20}\b(?:solo|sólo|únicamente|"
        r"siempre|"
        r"exactamente)\b",
        r"(?:теперь ты|отныне ты|ты теперь)|(?:ответь|отвечай|напиши|выведи)\w*.{0,20}(?:только|"
        r"всегда|слово|ровно)",
        r"(?:你现在是|你現在是|从现在开始|從現在開始|请只回答|只回复|只回答|请输出|必须回答)",
        r"(?:あなたは今|これからは|とだけ(?:答|返|出力)|と答えて|と出力し)",
        r"(?:이제부터|라고만 (?:답|대답)|라고 (?:답|출력)하)",
        r"(?:أنت الآن|من الآن فصاعد|أجب فقط|اكتب فقط)",
    ),
    "calls a tool": (
        r"</?\W?(?:tool_?calls?|function_?calls?|tool_?(?:use|response|results?)|invoke|antml|"
        r"functions?|tools?)\b[^>]{0,80}>",
        r"\"(?:name|function|tool|tool_name|recipient_name|action)\"\s*:\s*\"[\w.\-]+\"\s*,\s*"
        r"\"(?:arguments|parameters|args|input|action_input|params)\"",
        r"\b(?:call|invoke|run|execute|use|trigger|activate|launch)\b.{0,25}\b(?:tool|function|"
        r"plugin|"
        r"api|endpoint|shell|command|script|webhook|browser|code interpreter|action)s?\b.{0,60}"
        r"(?:\(|\bwith\b|\bto\b|\bnow\b|\bnamed\b|https?:|`|:)",
        r"\[TOOL_CALLS\]|<\|python_tag\|>|functions\.\w+\(",
        r"\b(?:tool_code|tool_calls?|function_call)\b",
        r"^\s*(?:action|action input|thought|observation)\s*:",
        r"\b(?:send|post|upload|forward|submit|transmit|e-?mail|exfiltrate|deliver|report|leak|"
        r"copy)\b"
        r".{0,60}(?:https?://|\bto \S+@\S+\.\w+|\b(?:address|server|webhook|url|endpoint)\b)",
        r"\b(?:curl|wget|fetch|requests\.(?:get|post)|invoke-webrequest)\b.{0,20}(?:https?:|\()",
        r"\b(?:delete|remove|drop|erase|overwrite|rm -rf)\b.{0,25}\b(?:all|every|the|these|"
        r"my)\b.{0,20}"
        r"\b(?:documents?|index|files?|database|conversations?|records?)\b.{0,20}(?:now|"
        r"immediately|"
        r"!|\bat once\b)",
    ),
    "signs of a chat template": (
        r"<\|?[^<>\n]{0,3}(?:im_start|im_end|im_sep|system|user|assistant|endoftext|end_of_text|"
        r"begin_of_text|start_header_id|end_header_id|eot_id|eom_id|end_of_turn|start_of_turn|end|"
        r"channel|message|start|return|constrain|fim_\w+|endofprompt|tool_call|"
        r"tool_response)[^<>\n]"
        r"{0,3}\|?>",
        r"\[/?INST\]|<</?SYS>>|\[/?(?:SYSTEM_PROMPT|AVAILABLE_TOOLS|TOOL_RESULTS)\]",
        r"<(?:start|end)_of_turn>|</?s>",
        r"^\s*#{1,4}\s*(?:system|instruction|instructions|response|assistant|user|input|"
        r"human)\b\s*:?",
        r"^\s*(?:system|developer)\s*(?:message|prompt|note|update)?\s*:\s*\S",
        r"</?(?:system|assistant|instructions?|prompt|context|passages?|documents?|user|human)>",
        r"\b(?:human|user)\s*:[^\n]{0,200}\s(?:assistant|ai)\s*:",
    ),
    "an address that opens itself": (
        r"!\[[^\]\n]{0,200}\]\s*[(\[]",
        r"<\s*(?:img|iframe|script|link|object|embed|video|audio|source|svg|style|meta|form|"
        r"base)\b",
        r"\[[^\]\n]{0,200}\]\(\s*(?:javascript|data|vbscript|file):",
        r"\bhttps?://\S{0,200}[?&/=](?:\{|%7b|<|\[|\$\{|%24|data=|q=|leak|exfil|secret|prompt)",
        r"\burl\(\s*['\"]?https?:",
        r"^\s*\[[^\]\n]{1,80}\]:\s*https?://",
    ),
}  # fmt: skip
"""Patterns of sentences of documents that try to instruct a model, by what they try."""


@dataclass(frozen=True)
class Instruction:
    """A stretch of a document that speaks to a model; ``kind`` says what it tries."""

    start: int
    end: int
    kind: str


@cache
def _patterns() -> list[tuple[str, re.Pattern[str]]]:
    return [
        (kind, re.compile("|".join(patterns), re.IGNORECASE | re.MULTILINE))
        for kind, patterns in INSTRUCTIONS.items()
    ]


_DIVIDED = 160  # characters of two sentences that are read as one
_SPREADING = ("overrides instructions", "signs of a chat template")


@lru_cache(maxsize=512)
def instructions(text: str) -> tuple[Instruction, ...]:
    """The sentences of a text that speak to a model.

    They are read as a model would: without characters that nobody sees, without marks of emphasis,
    l e t t e r s  apart put together, and letters that look alike taken for one another. Two
    sentences are read together as well, since an order may be divided, and the sentence behind one
    that overrides instructions may say what is to be done instead.
    """
    own = claims(text)
    found: list[Instruction] = []
    before: str | None = None
    for place, claim in enumerate(own):
        line = text.rfind("\n", 0, claim.start) + 1
        start = line if not text[line : claim.start].strip(" \t#>-*•") else claim.start
        kind, end = _kind(text[start : claim.end]), claim.end
        own_kind = kind
        if kind is None and before in _SPREADING and "\n" not in text[found[-1].end : claim.start]:
            kind = before
        before = own_kind
        if kind is None and place + 1 < len(own):
            after = own[place + 1]
            short = after.end - start <= _DIVIDED and after.start - claim.end < 4
            if short and _kind(text[after.start : after.end]) is None:
                kind, end = _kind(text[start : after.end]), after.end
        if kind is not None:
            found.append(Instruction(start, end, kind))
    for unseen in _TAGS.finditer(text):  # text in characters of tags alone is no sentence
        if not any(claim.start <= unseen.start() < claim.end for claim in own):
            found.append(Instruction(unseen.start(), unseen.end(), "text that nobody sees"))
    return tuple(found)


def undisguised(text: str) -> str:
    """A text of the same length without characters that turn others around or are text that
    nobody sees."""
    return _DISGUISING.sub(" ", text)


def _kind(sentence: str) -> str | None:
    """What a sentence tries to do to a model, if it does."""
    readings = [sentence]
    if not sentence.isascii():
        if _TAGS.search(sentence):
            return "text that nobody sees"
        plain = unicodedata.normalize("NFKC", UNSEEN.sub("", sentence))
        readings += [plain, plain.casefold().translate(_LOOKALIKES)]
    if _MARKED.search(sentence):
        readings.append(_MARKED.sub("", readings[-1]))
    if _SPACED.search(sentence):
        joined = _SPACED.sub(lambda match: re.sub(r"[ .\-_*]", "", match[0]), readings[-1])
        readings += [joined, re.sub(r"\s{2,}", " ", joined)]
    for kind, pattern in _patterns():
        for reading in readings:
            if pattern.search(reading):
                return kind
    return None
