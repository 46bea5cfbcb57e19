-- What wrk sends, and what it says at the end.
--
-- BENCH_TOKENS names a file with one bearer token a line, BENCH_PATHS one with a path a line: requests then carry these
-- in turn. Without them every request is the one that the command line describes. `request` must exist only in the
-- first case: its presence alone makes wrk call Lua for every request.

local tokens, paths = os.getenv("BENCH_TOKENS"), os.getenv("BENCH_PATHS")

if tokens or paths then
    local requests, position = {}, 0

    function init()
        for line in io.lines(tokens or paths) do
            local headers = { Host = wrk.headers["Host"], Authorization = tokens and "Bearer " .. line }
            requests[#requests + 1] = wrk.format("GET", paths and line, headers)
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
