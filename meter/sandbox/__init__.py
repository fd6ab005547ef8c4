"""Local doubles of the providers, and simulated customers: no account, no network, no bill.

`double.AssemblyAISandbox` answers as AssemblyAI's REST API does, `serve.serve` keeps one running
for the command line, and `customers.submit_jobs` drives it through the real `assemblyai` SDK.
Importing this package imports none of them.
"""
