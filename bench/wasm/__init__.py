"""Networks in WebAssembly, ours and other engines', in node.js and Chromium: ``python -m bench.wasm --help``."""
