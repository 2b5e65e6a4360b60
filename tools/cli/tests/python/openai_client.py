"""Uses a server with OpenAI's own client, unmodified: upload, ask, stream, log-probabilities, refusals, delete.

The arguments are the server's address, a scan, and the most questions that the server takes at a time. Prints, as JSON,
the answers, and the names of all parameters that the client's own types have.
"""

import asyncio
import json
import sys
import typing
from concurrent.futures import ThreadPoolExecutor

import openai
from openai.types import completion_create_params, file_create_params
from openai.types.chat import completion_create_params as chat_params

QUESTIONS = [
    "Which plane is shown?",
    "Describe the scan.",
    "What abnormality does this CT scan show?",
    "Which organ is abnormal?",
    "Is contrast agent given?",
    "Is there a nodule?",
    "Is there a mass?",
    "Is there a cyst?",
    "Is there a calcification?",
    "Is there an effusion?",
    "Where is the lesion?",
]


def names(*kinds):
    return sorted({name for kind in kinds for name in typing.get_type_hints(kind)})


def messages(scan, question):
    part = {"type": "file", "file": {"file_id": scan}}
    return [{"role": "user", "content": [part, {"type": "text", "text": question}]}]


def streamed(client, scan, question):
    text, usage = "", None
    parts = client.chat.completions.create(
        model="demo", messages=messages(scan, question), stream=True, stream_options={"include_usage": True}
    )
    for number, part in enumerate(parts):
        if number == 0:
            assert part.choices[0].delta.role == "assistant", part
            assert abs(sum(part.model_extra["slice_scores"]) - 1) < 1e-3, part
        for choice in part.choices:
            text += choice.delta.content or ""
        usage = part.usage or usage
    assert usage is not None and usage.prompt_tokens_details.cached_tokens > 0, usage
    return text


async def answered_async(address, scan):
    async with openai.AsyncOpenAI(base_url=f"{address}/v1", api_key="none-is-needed", max_retries=20) as client:
        ask = client.chat.completions.create
        asked = (ask(model="demo", messages=messages(scan, question)) for question in QUESTIONS)
        return [answer.choices[0].message.content for answer in await asyncio.gather(*asked)]


def refused_and_back(address, scan, at_once):
    """More clients than the server takes: those without retries are refused, those with them are answered."""
    impatient = openai.OpenAI(base_url=f"{address}/v1", api_key="none-is-needed", max_retries=0)
    patient = openai.OpenAI(base_url=f"{address}/v1", api_key="none-is-needed", max_retries=50)

    def ask(client):
        try:
            answer = client.chat.completions.create(model="demo", messages=messages(scan, QUESTIONS[1]))
            return answer.choices[0].message.content
        except openai.RateLimitError as error:
            assert error.code == "queue_full" and error.response.headers["retry-after"] == "1", error
            return None

    with ThreadPoolExecutor(8 * at_once) as pool:
        for _ in range(50):
            answers = list(pool.map(ask, [impatient] * 8 * at_once))
            if None in answers:
                break
        assert None in answers, "nobody was refused"
        answers = list(pool.map(ask, [patient] * 4 * at_once))
    assert None not in answers and len(set(answers)) == 1, answers


def main():
    address, path, at_once = sys.argv[1:]
    client = openai.OpenAI(base_url=f"{address}/v1", api_key="none-is-needed", max_retries=0)
    assert [model.id for model in client.models.list()] == ["demo"]
    with open(path, "rb") as file:
        uploaded = client.files.create(
            file=file, purpose="user_data", expires_after={"anchor": "created_at", "seconds": 3600}
        )
    scan = uploaded.id
    assert uploaded.status == "processed" and uploaded.model_extra["shape"], uploaded
    assert client.files.retrieve(scan).id == scan and scan in [file.id for file in client.files.list()]

    answers = []
    for question in QUESTIONS:
        answer = client.chat.completions.create(model="demo", messages=messages(scan, question))
        answers.append(answer.choices[0].message.content)
        assert answer.usage.prompt_tokens_details.image_tokens > 0, answer
    assert [streamed(client, scan, question) for question in QUESTIONS] == answers
    assert asyncio.run(answered_async(address, scan)) == answers
    refused_and_back(address, scan, int(at_once))

    told = client.chat.completions.create(
        model="demo", messages=messages(scan, QUESTIONS[1]), logprobs=True, top_logprobs=3, seed=1, max_tokens=4
    )
    tokens = told.choices[0].logprobs.content
    assert bytes(byte for token in tokens for byte in token.bytes).decode().strip() in answers[1], told
    assert all(token.top_logprobs[0].logprob == token.logprob <= 0 for token in tokens), tokens
    options = {"structured_outputs": {"choice": ["Axial", "Coronal", "Sagittal"]}}
    chosen = client.chat.completions.create(model="demo", messages=messages(scan, QUESTIONS[0]), extra_body=options)
    assert len(chosen.model_extra["choice_scores"]) == 3, chosen
    legacy = client.completions.create(model="demo", prompt=QUESTIONS[0], extra_body={"volume": scan})
    assert legacy.choices[0].text == answers[0], legacy

    for wrong in [{"n": 2}, {"response_format": {"type": "json_object"}}, {"tools": [{}]}]:
        try:
            client.chat.completions.create(model="demo", messages=messages(scan, QUESTIONS[0]), **wrong)
            raise AssertionError(f"{wrong} was taken")
        except openai.BadRequestError as error:
            assert error.param == next(iter(wrong)), error
    assert client.files.delete(scan).deleted
    try:
        client.files.retrieve(scan)
        raise AssertionError("a file that was deleted is there")
    except openai.NotFoundError:
        pass
    chat = names(chat_params.CompletionCreateParamsNonStreaming, chat_params.CompletionCreateParamsStreaming)
    kinds = completion_create_params
    completions = names(kinds.CompletionCreateParamsNonStreaming, kinds.CompletionCreateParamsStreaming)
    files = names(file_create_params.FileCreateParams)
    print(json.dumps({"answers": answers, "chat": chat, "completions": completions, "files": files}))


main()
