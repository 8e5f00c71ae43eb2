"""What `mqar-bench doctor` looks at: versions, the machine, the mixers' engines, Ray, and the folder of records.

A section is a module with a function that returns checks. The versions come first and import nothing that may be
missing, so that they can be told where torch or another package is not there.
"""
