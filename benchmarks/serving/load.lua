-- Every request has rows of its own: one line of the file per request, a body that is posted, or a path that is got.
-- At the end, the figures as one line of JSON.
-- wrk -t1 … -s load.lua URL -- FILE PAUSE
-- PAUSE: milliseconds that a connection waits on average before it asks again; 0 for as fast as it can.

local requests, sent = {}, 0

function init(arguments)
  local headers, pause = { ["Content-Type"] = "application/json" }, tonumber(arguments[2])
  for line in io.lines(arguments[1]) do
    local is_path = line:sub(1, 1) == "/"
    requests[#requests + 1] = is_path and wrk.format("GET", line) or wrk.format("POST", nil, headers, line)
  end
  if pause > 0 then
    math.randomseed(1)
    function delay() return math.floor(math.random() * 2 * pause + 0.5) end
  end
end

function request()
  sent = sent + 1
  return requests[(sent - 1) % #requests + 1]
end

function done(summary, latency, _)
  local errors = summary.errors
  print(string.format(
    '{"requests": %d, "seconds": %f, "p50_ms": %f, "p99_ms": %f, "max_ms": %f, "failed": %d}',
    summary.requests, summary.duration / 1e6, latency:percentile(50) / 1e3, latency:percentile(99) / 1e3,
    latency.max / 1e3, errors.connect + errors.read + errors.write + errors.status + errors.timeout
  ))
end
