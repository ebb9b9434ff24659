"""What several stages share. A change here reruns every stage, so it stays tiny."""
