"""New categories: escalated documents clustered, proposed to people, adopted by two, and asked about again."""
