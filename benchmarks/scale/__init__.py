"""How time, memory and what is kept grow with rows, versions, pipelines and nodes."""
