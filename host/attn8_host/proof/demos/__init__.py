"""What `attn8 demo` shows: a module each, with DEMO (see proof.demo)."""
