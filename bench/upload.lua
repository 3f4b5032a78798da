-- What wrk sends: a browser's request for a ticket. At the end one line of JSON, for bench/wrk.py.
wrk.method = "POST"
wrk.body = '{"type":"image/png","size":48213,"name":"cat.png"}'
wrk.headers["Content-Type"] = "application/json"
wrk.headers["Origin"] = "http://localhost:8080"

-- errors.status counts the answers above 399; bench/wrk.py has seen one whole answer before.
function done(summary, latency, requests)
  local errors = summary.errors
  io.write(string.format(
    '{"requests":%d,"microseconds":%d,"bytes":%d,"p50":%d,"p99":%d,"max":%d,' ..
    '"bad_status":%d,"failed":%d}\n',
    summary.requests, summary.duration, summary.bytes,
    latency:percentile(50), latency:percentile(99), latency.max,
    errors.status, errors.connect + errors.read + errors.write + errors.timeout))
end
