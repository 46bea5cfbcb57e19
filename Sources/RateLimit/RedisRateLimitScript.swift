/// `RateLimitState.take` in Lua, so that reading and writing a bucket is one step for all nodes.
///
/// Time is the server's own, in whole microseconds, which Lua's numbers hold exactly until the year 2255. The value
/// under the key is the instant from which on the bucket is full. Redis 5 or later, which replicates effects.
enum RedisRateLimitScript {
    static let source = source(clock: "redis.call('TIME')")

    /// SHA-1 of `source`, by which the server knows it. A wrong one would only cost a second round trip each time.
    static let digest = "907b95e9f55de7d9204790f5769946f573e438d2"

    /// `clock` is an expression for seconds and microseconds since 1970.
    ///
    /// The key lives a second longer than the bucket needs it: expiry goes by a clock that is read less often.
    /// What is no number makes the comparison fail, and with it the script; NaN passes no `<=`.
    static func source(clock: String) -> String {
        """
        local interval = tonumber(ARGV[1])
        local span = interval * tonumber(ARGV[2])
        local clock = \(clock)
        local now = tonumber(clock[1]) * 1000000 + tonumber(clock[2])
        local function store(full)
          redis.call('SET', KEYS[1], string.format('%.0f', full), 'PX', math.ceil((full - now) / 1000) + 1000)
        end
        local full = tonumber(redis.call('GET', KEYS[1]) or 0)
        if full > now + span then
          full = now + span
          store(full)
        end
        local missing = math.max(full - now, 0)
        local after = missing + interval
        if not (after <= span) then
          return {0, 0, after - span, missing}
        end
        store(now + after)
        return {1, math.floor((span - after) / interval), 0, after}
        """
    }
}
