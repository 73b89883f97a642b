"""Marks of generators: each program's grammar is found, and photographs that talk about it are not."""

from __future__ import annotations

import json

import pytest
from metadata_builders import add_jpeg_segment, camera_exif, encode_with, iim, resource, xmp_packet
from PIL import Image

from tamperscope.media.metadata import read_metadata

IPTC = "http://cv.iptc.org/newscodes/digitalsourcetype/"
A1111 = (
    "a harbour at dawn, <lora:film:0.7>\nNegative prompt: blurry\n"
    "Steps: 20, Sampler: DPM++ 2M Karras, CFG scale: 7, Seed: 1234567, Size: 512x512, Model hash: abc123"
)
FORGE = "a cat\nSteps: 8, Sampler: Euler, Schedule type: Simple, Distilled CFG Scale: 3.5, Seed: 42, Version: f2.0.1"
COMFY = json.dumps({"3": {"inputs": {"seed": 1, "steps": 20}, "class_type": "KSampler"}})
WORKFLOW = json.dumps({"last_node_id": 9, "last_link_id": 9, "nodes": [{"id": 7}], "links": []})
INVOKE = json.dumps({"generation_mode": "txt2img", "positive_prompt": "a cat", "seed": 4})
NOVELAI = json.dumps({"prompt": "a cat", "steps": 28, "sampler": "k_euler", "uc": "bad hands", "seed": 1})
FOOOCUS = json.dumps({"prompt": "a cat", "performance": "Speed", "base_model": "jugger", "seed": "1"})
SWARM = json.dumps({"sui_image_params": {"prompt": "a cat", "seed": 3}})
DREAM = '"a cat" -s 50 -S 1234 -W 512 -H 512 -C 7.5 -A k_lms'
MIDJOURNEY = "a cat --ar 3:2 --v 6.1 Job ID: 0123abcd-0123-4567-89ab-0123456789ab"
AIGC = json.dumps({"Label": "1", "ContentProducer": "001191", "ProduceID": "x", "ReservedCode1": ""})


def marks(data: bytes, fmt: str):
    return [f for f in read_metadata(data, fmt, None)[1] if f.code.startswith("mark.")]


@pytest.mark.parametrize(
    ("key", "text", "which"),
    [
        ("parameters", A1111, "Stable Diffusion web UI"),
        ("parameters", FORGE, "Stable Diffusion web UI"),
        ("parameters", FOOOCUS, "Fooocus"),
        ("parameters", SWARM, "SwarmUI"),
        ("fooocus_scheme", "fooocus", "Fooocus"),
        ("prompt", COMFY, "ComfyUI prompt"),
        ("workflow", WORKFLOW, "ComfyUI workflow"),
        ("invokeai_metadata", INVOKE, "InvokeAI"),
        ("sd-metadata", json.dumps({"model_weights": "sd", "image": {}}), "InvokeAI"),
        ("Dream", DREAM, "InvokeAI (Dream)"),
        ("Comment", NOVELAI, "NovelAI"),
        ("Software", "NovelAI", "NovelAI"),
        ("Source", "Stable Diffusion XL 7BCCAA2C", "Stable Diffusion"),
        ("Description", MIDJOURNEY, "Midjourney"),
        ("AIGC", AIGC, "TC260"),
    ],
)
def test_png_texts_of_generators(key, text, which):
    found = marks(encode_with("PNG", texts={key: text}), "PNG")
    assert len(found) == 1
    mark = found[0]
    assert (mark.code, mark.severity, mark.values["declared"]) == ("mark.generator", "warning", "generated")
    assert mark.values["which"].startswith(which)
    assert key in mark.values["where"]
    assert mark.values["quote"] == text[:500]


@pytest.mark.parametrize("fmt", ["JPEG", "WEBP", "PNG", "AVIF"])
@pytest.mark.parametrize("encoding", ["utf-16-be", "utf-16-le"])
def test_the_same_grammar_in_the_user_comment(fmt, encoding):
    prompt = "very long prompt, " * 300 + A1111
    exif = camera_exif(e0x9286=b"UNICODE\0" + prompt.encode(encoding))
    found = marks(encode_with(fmt, exif.tobytes()), fmt)
    assert [f.values["declared"] for f in found] == ["generated"]
    assert len(found[0].values["quote"]) == 500


def test_comfyui_in_the_tags_of_webp():
    exif = Image.Exif()
    exif[0x010F], exif[0x0110] = f"workflow:{WORKFLOW}", f"prompt:{COMFY}"
    found = marks(encode_with("WEBP", exif.tobytes()), "WEBP")
    assert {f.values["which"] for f in found} == {"ComfyUI workflow", "ComfyUI prompt"}


def test_the_comment_segment_of_jpeg():
    assert len(marks(add_jpeg_segment(encode_with("JPEG"), 0xFE, A1111.encode()), "JPEG")) == 1


@pytest.mark.parametrize(
    ("source", "declared"),
    [
        (IPTC + "trainedAlgorithmicMedia", "generated"),
        ("trainedAlgorithmicMedia", "generated"),
        (IPTC + "compositeWithTrainedAlgorithmicMedia", "edited_by_ai"),
        (IPTC + "digitalCapture", None),
        (IPTC + "compositeSynthetic", None),
        (IPTC + "algorithmicMedia", None),
    ],
)
@pytest.mark.parametrize("form", ['Iptc4xmpExt:DigitalSourceType="{}"', ""])
def test_digital_source_type(source, declared, form):
    child = f"<Iptc4xmpExt:DigitalSourceType>{source}</Iptc4xmpExt:DigitalSourceType>"
    packet = xmp_packet(form.format(source)) if form else xmp_packet(children=child)
    found = marks(encode_with("JPEG", xmp=packet), "JPEG")
    assert len(found) == 1
    if declared is None:
        assert (found[0].code, found[0].severity) == ("mark.source_type", "info")
    else:
        assert (found[0].severity, found[0].values["declared"]) == ("warning", declared)


@pytest.mark.parametrize(
    ("properties", "which", "declared"),
    [
        ('photoshop:Credit="Made with Google AI"', "Google AI", "generated"),
        ('photoshop:Credit="Edited with Google AI"', "Google AI", "edited_by_ai"),
        ('xmp:CreatorTool="Adobe Firefly 2.0"', "Adobe Firefly", "generated"),
        ('xmp:CreatorTool="DALL·E 3"', "DALL·E", "generated"),
        ('photoshop:Credit="Midjourney v6"', "Midjourney", "generated"),
        ('xmp:CreatorTool="Gemini"', "Gemini", "generated"),
    ],
)
def test_credits_and_tools_in_xmp(properties, which, declared):
    found = marks(encode_with("JPEG", xmp=xmp_packet(properties)), "JPEG")
    assert [(f.values["which"], f.values["declared"]) for f in found] == [(which, declared)]


def test_credit_in_iptc_and_software_in_exif():
    block = b"Photoshop 3.0\0" + resource(0x0404, iim((2, 110, b"Made with Google AI")))
    assert marks(add_jpeg_segment(encode_with("JPEG"), 0xED, block), "JPEG")[0].values["where"] == "IPTC Credit"
    found = marks(encode_with("JPEG", camera_exif(t0x0131="Midjourney").tobytes()), "JPEG")
    assert found[0].values["where"] == "EXIF Software"


def test_chinese_label_in_xmp():
    escaped = AIGC.replace('"', "&quot;")
    found = marks(encode_with("JPEG", xmp=xmp_packet(f'TC260:AIGC="{escaped}"')), "JPEG")
    assert found[0].values["declared"] == "generated"
    suspected = escaped.replace("&quot;1&quot;", "&quot;3&quot;")
    found = marks(encode_with("JPEG", xmp=xmp_packet(f'TC260:AIGC="{suspected}"')), "JPEG")
    assert [(f.code, f.severity) for f in found] == [("mark.platform_label", "notice")]


@pytest.mark.parametrize(
    ("key", "text"),
    [
        ("Comment", "Steps: 300 up to the temple, Seed: sunflower, with Sampler of tapas"),
        ("Comment", "Steps: 20, it took; Seed: 5 packets bought at the market"),
        ("parameters", "ISO 400, f/8, 1/250 s"),
        ("parameters", '{"exposure": 1.5, "seed": 3}'),
        ("prompt", "Photo contest prompt: 'water'"),
        ("prompt", '{"question": "what is on the picture?"}'),
        ("workflow", "RAW > Lightroom > JPEG"),
        ("workflow", '{"nodes": [1, 2]}'),
        ("Comment", '{"prompt": "Describe your holiday", "answer": "It rained"}'),
        ("Description", "Screenshot of a Midjourney prompt, Job ID: 4711"),
        ("Description", "Stable Diffusion of ink in water, photographed with a macro lens"),
        ("Title", "Midjourney"),
        ("Dream", "I had a dream -s"),
        ("Software", "Gemini Observatory Reduction Package 3.1"),
        ("Software", "Firefly Aerospace telemetry viewer"),
        ("Software", "Krita 5.2"),
        ("Comment", "AIGC conference in Shanghai"),
        ("AIGC", '{"Label": "1"}'),
        ("Source", "OpenAI"),
    ],
)
def test_photographs_that_talk_about_it_do_not_match(key, text):
    assert marks(encode_with("PNG", texts={key: text}), "PNG") == []


@pytest.mark.parametrize(
    "properties",
    [
        'photoshop:Credit="OpenAI"',
        'photoshop:Credit="Gemini"',
        'photoshop:Credit="Photo: Stability AI / handout"',
        'photoshop:Credit="Made with love"',
        'dc:source="Grok"',
        'xmp:CreatorTool="Adobe Photoshop 25.0"',
    ],
)
def test_credits_of_photographs_do_not_match(properties):
    assert marks(encode_with("JPEG", xmp=xmp_packet(properties)), "JPEG") == []


def test_camera_originals_do_not_match():
    for model in ("Gemini PDA", "Firefly 8SE", "Ideogram"):
        assert marks(encode_with("JPEG", camera_exif(t0x0110=model).tobytes()), "JPEG") == []
