"""What Dataflow's template launcher runs inside the image."""

import sys

from clozekit.deploy.flex_template.launch import launch

if __name__ == "__main__":
    launch(sys.argv[1:])
