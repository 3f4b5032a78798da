-- wrk sends a browser's request for a ticket, and prints one line of JSON at the end, for bench/wrk.py.
wrk.method = "POST"
wrk.body = '{"type":"image/png","size":48213,"name":"cat.png"}'
wrk.headers["Content-Type"] = "application/json"
wrk.headers["Origin"] = "http://localhost:8080"

-- errors.status counts the answers above 399.
function done(summary, latency)
  local errors = summary.errors
  io.write(string.format(
    '{"requests":%d,"microseconds":%d,"p50":%d,"p99":%d,"refused":%d,"failed":%d}\n',
    summary.requests, summary.duration, latency:percentile(50), latency:percentile(99),
    errors.status, errors.connect + errors.read + errors.write + errors.timeout))
end
