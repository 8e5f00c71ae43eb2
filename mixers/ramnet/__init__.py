"""RAM-Net (arXiv 2602.11958): address decoding, the PDMA memory, and the mixer made of them."""

from mixers.ramnet.mixer import RAMNet
from mixers.ramnet.ops import decode_address, pdma, ramnet_step
from mixers.ramnet.trace import Access, record_access

__all__ = ["Access", "RAMNet", "decode_address", "pdma", "ramnet_step", "record_access"]
