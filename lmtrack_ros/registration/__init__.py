"""From landmarks in radiographs to the rigid shift of a patient from plan."""
