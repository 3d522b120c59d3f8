#!/bin/bash
# The rooms of src/ include only what lies below them, and sources keep the habits that includes.py lists.
set -euo pipefail
cd "$(dirname "$0")/../.."
exec python3 test/structure/includes.py
