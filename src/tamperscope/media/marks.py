"""Finds the marks with which generators and AI editors declare their pictures.

Sources: IPTC NewsCodes digital source type; the texts that Stable Diffusion web UI (and Forge), ComfyUI, InvokeAI,
NovelAI, Fooocus, SwarmUI and Midjourney write; GB 45438-2025 (TC260 AIGC label). The patterns ask for the grammar of
a program and not for single words, so that the caption of a photograph does not match.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Literal

from tamperscope.types import Finding

Declared = Literal["generated", "edited_by_ai"]
QUOTE = 500
# Longer fields name no software.
_FIELD = 200

SOURCE_TYPES: dict[str, Declared] = {
    "trainedalgorithmicmedia": "generated",
    "compositewithtrainedalgorithmicmedia": "edited_by_ai",
}

# No pattern may backtrack over a long text: each is a literal with a short rest.
_STEPS = re.compile(r"(?:^|[\n,]) ?Steps: \d+,")
_SEED = re.compile(r"\bSeed: -?\d+")
_SAMPLING = re.compile(r"\b(?:Sampler|CFG scale|Distilled CFG Scale|Model hash): \S")
_GRAPH = re.compile(r'"class_type"\s*:\s*"')
_WORKFLOW = re.compile(r'"(?:last_node_id|last_link_id)"\s*:')
_NODES = re.compile(r'"nodes"\s*:\s*\[')
_DREAM = tuple(re.compile(rf"(?:^|\s)-{flag} ?-?\d+\b") for flag in "sSWH")
_NOVELAI = re.compile(r'"(?:sampler|uc|noise_schedule|request_type)"\s*:')
_PROMPT = re.compile(r'"prompt"\s*:\s*"')
_FOOOCUS = re.compile(r'"(?:performance|base_model|refiner_model|adm_guidance|guidance_scale)"\s*:')
_SWARM = re.compile(r'"sui_image_params"\s*:')
_INVOKE = re.compile(r'"(?:positive_prompt|app_version|generation_mode|model_weights|model_hash|seed)"\s*:')
_JOB = re.compile(r"\bJob ID: [0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\b")
_AIGC = re.compile(r'"Label"\s*:\s*"?([123])\b')
_AIGC_FIELDS = re.compile(r'"(?:ContentProducer|ProduceID|ContentPropagator|PropagateID)"\s*:')

# Whole values of fields: products declare the picture wherever they stand, companies only as its software (they
# also hand out photographs).
_PRODUCTS: tuple[tuple[str, str, Declared], ...] = (
    ("Google AI", r"(?:Made|Created|Generated) with Google(?: AI)?\.?", "generated"),
    ("Google AI", r"Edited with Google(?:'s)? (?:AI|Gemini)\.?", "edited_by_ai"),
    ("Meta AI", r"(?:Made|Imagined) with (?:Meta )?AI", "generated"),
    ("DALL·E", r"(?:OpenAI )?DALL[·\-. ‧•]?E(?:[ -]?[23])?", "generated"),
    ("Midjourney", r"(?:Midjourney|Niji ?journey)\b.{0,40}", "generated"),
    ("Adobe Firefly", r"Adobe[ _]Firefly\b.{0,40}", "generated"),
    ("Stable Diffusion", r"Stable Diffusion\b.{0,60}", "generated"),
    ("NovelAI", r"NovelAI\b.{0,40}", "generated"),
    ("Bing Image Creator", r"Bing Image Creator|Image Creator from .{0,40}", "generated"),
)
_COMPANIES: tuple[tuple[str, str, Declared], ...] = (
    ("Gemini", r"(?:Google )?Gemini(?: Nano Banana.*| [\d.]+.*(?:Image|Flash).*)?", "generated"),
    ("Google Imagen", r"Google Imagen\b.{0,40}", "generated"),
    ("OpenAI", r"OpenAI(?:[ -]API)?|ChatGPT|GPT-4o|gpt-image-\d\S*", "generated"),
    ("Stability AI", r"(?:Stability ?AI|DreamStudio)\b.{0,40}", "generated"),
    ("ComfyUI", r"ComfyUI\b.{0,40}", "generated"),
    ("Fooocus", r"(?:RuinedFooocus|Fooocus)\b.{0,40}", "generated"),
    ("InvokeAI", r"Invoke ?AI\b.{0,40}", "generated"),
    ("Draw Things", r"Draw Things\b.{0,40}", "generated"),
    ("Ideogram", r"Ideogram(?: ?AI)?", "generated"),
    ("Leonardo.Ai", r"Leonardo\.? ?AI", "generated"),
    ("Microsoft Designer", r"Microsoft Designer", "generated"),
    ("Grok", r"Grok(?: Imagine)?|xAI Grok.{0,20}", "generated"),
)
_SOFTWARE_TAGS = ("Software", "ProcessingSoftware")
_SOFTWARE_PATHS = ("xmp:CreatorTool", "tiff:Software", "Iptc4xmpExt:AISystemUsed")
_CREDIT_PATHS = ("photoshop:Credit", "photoshop:Source", "dc:source")
_TEXT_TAGS = ("ImageDescription", "UserComment", "Make", "Model", "XPComment")
_TEXT_PATHS = ("dc:description", "exif:UserComment", "dc:title", "photoshop:Instructions")


def find_marks(facts: dict[str, Any], texts: list[tuple[str, str, str]]) -> list[Finding]:
    """Return a warning for every mark that declares the picture generated or edited by AI.

    Args:
        facts: As `read_metadata` returns them.
        texts: (key, whole text, where) of the container's texts.
    """
    found = [*_source_types(facts), *_producers(facts, texts)]
    for key, text, where in [*texts, *_embedded_texts(facts)]:
        mark = _text_mark(key, text)
        if mark is not None:
            found.append(generator_mark(mark[0], f"{where} {key}", text, mark[1]))
    found += _aigc_labels(facts, texts)
    seen: set[tuple[Any, ...]] = set()
    unique = []
    for finding in found:
        identity = (finding.code, finding.values.get("which"), finding.values["where"])
        if identity not in seen:
            unique.append(finding)
        seen.add(identity)
    return unique


def generator_mark(which: str, where: str, text: str, declared: Declared, **more: Any) -> Finding:
    """Return the finding of one mark: which program or standard, where it stands, a quotation, what it declares."""
    words = "generated" if declared == "generated" else "edited with a generative tool"
    return Finding(
        "mark.generator",
        f"The file itself declares that the picture was {words} ({which}).",
        "warning",
        {"which": which, "where": where, "quote": text[:QUOTE], "declared": declared, **more},
        "marks",
    )


def source_type(text: str) -> str:
    """Return the last part of a digital source type, which may be a URL or a bare code."""
    return re.split(r"[/#:]", text.strip().rstrip("/"))[-1]


def _source_types(facts: dict[str, Any]) -> Iterator[Finding]:
    for path, text in facts.get("xmp", {}).get("properties", {}).items():
        if path.rpartition(":")[2].partition("[")[0] not in ("DigitalSourceType", "DigitalSourcefileType"):
            continue
        name = source_type(str(text))
        declared = SOURCE_TYPES.get(name.lower())
        if declared is not None:
            yield generator_mark(f"IPTC digital source type {name}", f"XMP {path}", str(text), declared)
        elif name:
            words = "The file declares the kind of its source."
            yield Finding("mark.source_type", words, "info", {"value": name[:QUOTE], "where": f"XMP {path}"}, "marks")


def _producers(facts: dict[str, Any], texts: list[tuple[str, str, str]]) -> Iterator[Finding]:
    """Compare the fields that name software, then those that name a credit or a source."""
    tags = facts.get("exif", {}).get("IFD0", {})
    xmp, iptc = facts.get("xmp", {}), facts.get("iptc", {})
    properties = xmp.get("properties", {})
    software = [(f"EXIF {tag}", tags.get(tag)) for tag in _SOFTWARE_TAGS]
    software += [(f"XMP {path}", properties.get(path)) for path in _SOFTWARE_PATHS]
    software += [("XMP xmpMM:History softwareAgent", step.get("softwareAgent")) for step in xmp.get("history", [])]
    software += [("IPTC OriginatingProgram", iptc.get("OriginatingProgram"))]
    software += [(f"{where} {key}", text) for key, text, where in texts if key == "Software"]
    credit = [(f"XMP {path}", properties.get(path)) for path in _CREDIT_PATHS]
    credit += [(f"IPTC {name}", iptc.get(name)) for name in ("Credit", "Source")]
    credit += [(f"{where} {key}", text) for key, text, where in texts if key == "Source"]
    for fields, table in ((software, _PRODUCTS + _COMPANIES), (credit, _PRODUCTS)):
        for where, text in fields:
            for which, pattern, declared in table if isinstance(text, str) and len(text) <= _FIELD else ():
                if re.fullmatch(pattern, text.strip(), re.IGNORECASE):
                    yield generator_mark(which, where, text, declared)
                    break


def _embedded_texts(facts: dict[str, Any]) -> Iterator[tuple[str, str, str]]:
    for ifd in ("IFD0", "Exif"):
        for tag in _TEXT_TAGS:
            value = facts.get("exif", {}).get(ifd, {}).get(tag)
            if isinstance(value, str):
                yield tag, value, "EXIF"
    for path in _TEXT_PATHS:
        value = facts.get("xmp", {}).get("properties", {}).get(path)
        if isinstance(value, str):
            yield path, value, "XMP"


def _text_mark(key: str, text: str) -> tuple[str, Declared] | None:
    """Return (program, what it declares) when a text has the grammar of a generator."""
    if _STEPS.search(text) and _SEED.search(text) and _SAMPLING.search(text):
        return "Stable Diffusion web UI grammar (AUTOMATIC1111, Forge)", "generated"
    if _SWARM.search(text):
        return "SwarmUI", "generated"
    if _GRAPH.search(text) and '"inputs"' in text:
        return "ComfyUI prompt", "generated"
    if _WORKFLOW.search(text) and _NODES.search(text):
        return "ComfyUI workflow", "generated"
    if key in ("invokeai_metadata", "sd-metadata", "invokeai_graph") and _INVOKE.search(text):
        return "InvokeAI", "generated"
    if key == "Dream" and all(pattern.search(text) for pattern in _DREAM):
        return "InvokeAI (Dream)", "generated"
    if key in ("Comment", "UserComment") and _PROMPT.search(text) and _NOVELAI.search(text):
        return "NovelAI", "generated"
    if key in ("parameters", "UserComment", "Comment") and _PROMPT.search(text) and _FOOOCUS.search(text):
        return "Fooocus", "generated"
    if key in ("Description", "dc:description", "ImageDescription") and _JOB.search(text):
        return "Midjourney", "generated"
    if key == "fooocus_scheme" and text.strip() in ("fooocus", "a1111"):
        return "Fooocus", "generated"
    return None


def _aigc_labels(facts: dict[str, Any], texts: list[tuple[str, str, str]]) -> Iterator[Finding]:
    """Chinese labelling standard: label 1 declares generated content; 2 and 3 are the guesses of a platform."""
    found = [(f"{where} {key}", text) for key, text, where in texts if key == "AIGC" or '"AIGC"' in text]
    properties = facts.get("xmp", {}).get("properties", {})
    found += [(f"XMP {path}", str(text)) for path, text in properties.items() if path.endswith(":AIGC")]
    comment = facts.get("exif", {}).get("Exif", {}).get("UserComment")
    if isinstance(comment, str) and '"AIGC"' in comment:
        found.append(("EXIF UserComment", comment))
    for where, text in found:
        label = _AIGC.search(text)
        if label is None or not _AIGC_FIELDS.search(text):
            continue
        if label[1] == "1":
            yield generator_mark("TC260 AIGC label", where, text, "generated")
        else:
            words = "A platform labelled the picture as possibly generated."
            yield Finding("mark.platform_label", words, "notice", {"where": where, "quote": text[:QUOTE]}, "marks")
