"""Writes the seeds of the fuzz targets: python3 test/fuzz/make_corpus.py. A folder of test/fuzz/corpus for each target."""
import json
import pathlib
import struct

HERE = pathlib.Path(__file__).parent / 'corpus'


def put(target, name, content):
    folder = HERE / target
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(content.encode() if isinstance(content, str) else content)


def ints(*values, count=256):
    return struct.pack(f'<{count}i', *values, *([0] * (count - len(values))))


def safetensors(header, data):
    text = json.dumps(header).encode()
    return struct.pack('<Q', len(text)) + text + data


def packed(*values):
    """A body of the ranks: numbers as 8 bytes, texts behind their length."""
    return b''.join(struct.pack('<q', value) if isinstance(value, int) else struct.pack('<q', len(value)) + value.encode()
                    for value in values)


def frame(kind, body):
    return struct.pack('<IIQ', 0x614c6552, kind, len(body)) + body


put('shard', 'five_tokens', ints(20240520, 1, 5) + struct.pack('<5H', 256, 104, 101, 108, 256))
put('shard', 'no_tokens', ints(20240520, 1, 0))
put('tokenizer', 'bytes', ints(20240328, 2, 257, 256) + b''.join(bytes([1, i]) for i in range(256)) + b'\x0d<|endoftext|>')
put('tokenizer', 'merges', ints(20240328, 2, 259, 258) +
    b''.join(bytes([1, i]) for i in range(256)) + b'\x02th\x03the\x0d<|endoftext|>')
put('vocabulary', 'ranks', 'IQ== 0\nIg== 1\nIw== 2\n')
put('vocabulary', 'merges', '#version: 0.2\n\u0120 t\n\u0120 a\nh e\n')
put('safetensors', 'two', safetensors({'a': {'dtype': 'F32', 'shape': [2, 1], 'data_offsets': [0, 8]},
                                       'b': {'dtype': 'BF16', 'shape': [3], 'data_offsets': [8, 14]}}, bytes(range(14))))
put('safetensors', 'metadata', safetensors({'__metadata__': {'format': 'pt'},
                                            'empty': {'dtype': 'F32', 'shape': [0], 'data_offsets': [0, 0]}}, b''))
put('json_line', 'text', '{"text": "The sea \\u00e4\\ud83d\\ude00", "meta": {"id": 1, "score": -1.5e-3, "tags": [true, null]}}')
put('text', 'words', "The captain's 12 letters, they'll\tSEA\u00a0\u4e2d\u6587 \U0001f600\n\n  end")
put('text', 'broken', b'ab\xc3(\xe2\x82 \xf0\x9f\x98 \xed\xa0\x80\xff')

state = {'format': 1, 'step': 6, 'restarts': 1, 'phase': 'lowrank', 'data': {'epoch': 0, 'position': 24}, 'seed': 1337,
         'model': {'vocab_size': 257, 'positions': 32, 'layers': 1, 'heads': 2, 'channels': 32},
         'adapters': {'rank': 4, 'alpha': 32.0}, 'adam_steps': {'transformer.wte.weight': 3},
         'options': {'lr': '0.002', 'mode': '"relora"'},
         'files': {f'{name}.safetensors': '0' * 64 for name in ('adapters', 'model', 'optimizer')}}
put('state', 'lowrank', json.dumps(state, indent=1))
del state['files']['adapters.safetensors']
put('state', 'full', json.dumps({**state, 'phase': 'full', 'restarts': 0}, indent=1))
put('config_json', 'gpt2', json.dumps({'model_type': 'gpt2', 'vocab_size': 257, 'n_positions': 32, 'n_layer': 1, 'n_head': 2,
                                       'n_embd': 32, 'activation_function': 'gelu_new', 'n_inner': None}))
put('config_toml', 'run', '# a run\nlayers = 1\nheads = 2\nchannels = 32\nseq-len = 32\nbatch-size = 4\nmode = "relora"\nrank = 4\n'
    'lr = 0.002\nmax-steps = 12\nwarm-start-steps = 3\nmerge-every = 3\nprofile = true\nprompt = "a \\"b\\" \\\\ #"\n')
put('command_line', 'run', '--layers\n1\n--heads=2\n--channels\n32\n--seq-len\n32\n--batch-size\n4\n--rank\n4\n--max-steps\n12\n'
    '--lr\n2e-3\n--reset\nmagnitude:0.9')
put('metrics', 'lines', '{"step":1,"loss":5.5}\n{"step":3,"event":"restart"}\n{"step":4,"loss":null}\n{"step":5,"lo')
put('routes', 'measured', json.dumps({'KEY': [[[0.001, 0.0001], [0.002, 0], [0.0015, 0.0001]]] * 4}))
put('hello', 'rank_1', packed(1, 'nonce', 'token', 2, 1, 'machine', 'host', 'lr = 1\nseed = 2\n'))
put('failure_news', 'rank_1', packed(1, 2, 'rank 1: disk full'))
put('frames', 'two', frame(5, b'') + frame(6, packed('gather', 'abc')))
put('address_file', 'rank_0', 'rank 0 of train_relora listens\nnonce\ntoken\nhost\n4711\n10.0.0.1\nfe80::1\nend\n')
put('differences', 'texts', 'lr = 1\nseed = 2\nlr = 1\nseed = 3\n')
