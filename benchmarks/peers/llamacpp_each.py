"""llama.cpp, every sequence leaving the batch at its own limit: python -m benchmarks.peers.llamacpp_each W5"""

import sys

from benchmarks.peers import llamacpp

if __name__ == "__main__":
    llamacpp.main(sys.argv[1], each=True)
