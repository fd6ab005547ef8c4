"""Local doubles of the providers, and simulated customers: no account, no network, no bill.

`double.AssemblyAISandbox` answers as AssemblyAI's REST API does, `streaming.StreamingSandbox` as
its streaming API; `serve.serve` keeps both running for the command line. `customers.submit_jobs`
and `stream_customers.stream_sessions` drive them through the real `assemblyai` SDK.
`stripe_sandbox.StripeSandbox` answers as Stripe's metering API does.
Importing this package imports none of them.
"""
