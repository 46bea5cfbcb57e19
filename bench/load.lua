-- What wrk sends, and what it says at the end.
--
-- BENCH_TOKENS names a file with one bearer token a line: requests then carry these in turn. Without it every request
-- is the one that the command line describes. `request` must exist only in the first case: its presence alone makes
-- wrk call Lua for every request.

local tokens = os.getenv("BENCH_TOKENS")

if tokens then
    local requests, position = {}, 0

    function init()
        for token in io.lines(tokens) do
            requests[#requests + 1] = wrk.format("GET", nil, { Authorization = "Bearer " .. token, Host = wrk.headers["Host"] })
        end
    end

    function request()
        position = position % #requests + 1
        return requests[position]
    end
end

function done(summary)
    local errors = summary.errors
    print(string.format(
        'BENCH {"requests": %d, "microseconds": %d, "connect": %d, "read": %d, "write": %d, "status": %d, "timeout": %d}',
        summary.requests, summary.duration, errors.connect, errors.read, errors.write, errors.status, errors.timeout))
end
