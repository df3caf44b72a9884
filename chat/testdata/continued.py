"""Writes continued.json: what transformers' own rendering makes of conversations
whose last message is to be continued, with the templates in templates/ that do
not ask for the time. An answer of null means that it refuses.

Usage: python continued.py
"""

import glob
import json
import os

import jinja2
import transformers
from transformers.utils.chat_template_utils import render_jinja_template

HERE = os.path.dirname(os.path.abspath(__file__))


def m(role, content):
    return {"role": role, "content": content}


CONVERSATIONS = [
    [m("user", "Name a colour."), m("assistant", "The colour is")],
    [m("user", "Name a colour."), m("assistant", "The colour is ")],
    [m("user", "Name a colour."), m("assistant", "  1. red\n\n2.\n ")],
    [m("system", "Be brief."), m("user", "The colour is"), m("assistant", "The colour is")],
    [m("user", "q"), m("assistant", "a"), m("user", "Once upon")],
    [m("user", "q"), m("assistant", "")],
    [m("user", "q"), m("assistant", "<think>\nhm, hm\n</think>\n\nthe ans")],
    [m("user", "CONTINUE_FINAL_MESSAGE_TAG "), m("assistant", "<|im_end|> CONTINUE_FINAL_MESSAGE_TAG é☃")],
]

answers = {}
for path in sorted(glob.glob(os.path.join(HERE, "templates", "*.jinja"))):
    with open(path, newline="") as f:
        source = f.read()
    if "strftime_now" in source:
        continue
    name = os.path.basename(path)[:-6]
    answers[name] = []
    for c in CONVERSATIONS:
        try:
            texts, _ = render_jinja_template(
                [c], chat_template=source, continue_final_message=True, add_generation_prompt=False,
                bos_token="<|bos|>", eos_token="<|eos|>")
            answers[name].append(texts[0])
        except (ValueError, jinja2.exceptions.TemplateError):
            answers[name].append(None)
with open(os.path.join(HERE, "continued.json"), "w") as f:
    json.dump({"conversations": [{"messages": c} for c in CONVERSATIONS], "answers": answers}, f, indent=0)
    f.write("\n")
print(len(answers), "templates, transformers", transformers.__version__, "jinja2", jinja2.__version__)
print({k: sum(a is None for a in v) for k, v in answers.items()})
