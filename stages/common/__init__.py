"""What every stage imports. A change here reruns every stage, so it stays tiny."""
