"""The pocket tokenizer: byte-level BPE of 1,024 tokens; a digit or a bracketed letter is a token of its own."""

from __future__ import annotations

from pathlib import Path

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import AutoTokenizer, PreTrainedTokenizerBase, PreTrainedTokenizerFast

from decodelab.pocket.language import TASKS, document

VOCABULARY = 1024
PAD, BOS, EOS = "<pad>", "<s>", "</s>"
PAD_ID, BOS_ID, EOS_ID = 0, 1, 2  # special tokens come first, in this order
ROLES = ("<|system|>", "<|user|>", "<|assistant|>", "<|tool|>")
CONTEXT = 512

# The words of GPT-2, but digits alone, and the letter of an option in its brackets whole: " (B)".
WORDS = r" ?\([A-Z]\)| ?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"

# Tools are one line each, `name(parameter, ...)`: all that a vocabulary and a context this small can carry.
CHAT_TEMPLATE = """\
{{- bos_token -}}
{%- set first = messages[0] if messages else none -%}
{%- set told = first.content if first and first.role == 'system' else '' -%}
{%- if told or tools -%}
<|system|>{{ told }}
{%- if told and tools %}{{ '\\n' }}{% endif -%}
{%- if tools -%}
Tools:{% for tool in tools -%}
{%- set function = tool.function if tool.function is defined else tool -%}
{{ '\\n' }}{{ function.name }}({{ function.parameters.properties.keys() | list | join(', ') }})
{%- endfor -%}
{%- endif -%}
{%- endif -%}
{%- for message in messages -%}
{%- if message.role == 'user' -%}
<|user|>{{ message.content }}
{%- elif message.role == 'tool' -%}
<|tool|>{{ message.content }}
{%- elif message.role == 'assistant' -%}
<|assistant|>{% generation %}{{ message.content or '' }}
{%- for call in message.tool_calls or [] -%}
{%- set function = call.function if call.function is defined else call -%}
{{ '\\n' if message.content or not loop.first else '' }}{{ function.name }}(
{%- if function.arguments is string -%}
{{ function.arguments }}
{%- else -%}
{%- for key, value in function.arguments.items() -%}
{{ key }}={{ value | tojson }}{{ '' if loop.last else ', ' }}
{%- endfor -%}
{%- endif -%})
{%- endfor -%}
{{ eos_token }}{% endgeneration %}
{%- elif message.role != 'system' or not loop.first -%}
{{ raise_exception('roles are system (first), user, assistant and tool; got ' ~ message.role) }}
{%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}<|assistant|>{%- endif -%}
"""


def train_tokenizer(documents: int = 3_000) -> PreTrainedTokenizerFast:
    """Learn the tokenizer from `documents` documents of each task of the language; the same every time."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(WORDS), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=[PAD, BOS, EOS, *ROLES],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    read = (document(name, seed) for seed in range(documents) for name in TASKS)
    tokenizer.train_from_iterator((each.prompt + each.answer for each in read), trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{BOS} $A", pair=f"{BOS} $A $B:1", special_tokens=[(BOS, tokenizer.token_to_id(BOS))]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=PAD,
        bos_token=BOS,
        eos_token=EOS,
        additional_special_tokens=list(ROLES),
        chat_template=CHAT_TEMPLATE,
        model_max_length=CONTEXT,
        padding_side="left",
        clean_up_tokenization_spaces=False,
    )


def load_tokenizer(directory: Path) -> PreTrainedTokenizerBase:
    """Load a tokenizer saved in `directory`."""
    return AutoTokenizer.from_pretrained(directory)
