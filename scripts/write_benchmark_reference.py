"""Write the results of this CPU that `dynamicrafter benchmark` compares other machines with.

python -m scripts.write_benchmark_reference
"""

from __future__ import annotations

from lvdm.benchmark.parity import write_reference

if __name__ == "__main__":
    write_reference()
