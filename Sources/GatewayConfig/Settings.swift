internal import IdentityModel

/// Every setting of `gateway.yaml`, in the order of the reference page.
enum Settings {
    static let all: [any SettingDeclaration] =
        process + TLS.process + Listener.all + Upstream.all + Buffering.all + Session.all + Token.all
        + Store.all + Identity.all + SecurityHeaders.top.all + Route.all

    static let workers = Setting.optional(
        "workers", .integer(1...1024), absent: "one for each core", help: "Worker threads.")
    static let memoryMax = Setting.optional(
        "memory_max", .size(16 << 20...1 << 50),
        absent: "half of what the process may have: of the machine's memory, its control group's, or what `ulimit -v` "
            + "leaves",
        help: "Memory for connections, requests and bodies under way, over all workers. When it runs short, new "
            + "connections are closed, then requests are 503; bodies go to files early.")
    static let user = Setting.optional(
        "user", .runAs, absent: "stays who it is", help: "The user, and optionally group, to become after binding.")
    static let trustedProxies = Setting<GatewayConfiguration.Peers>.optional(
        "trusted_proxies", .peers, absent: "nobody", isList: true,
        help: "Peers whose `X-Forwarded-*` fields count. Name only proxies that set these fields themselves. `unix` is "
            + "everybody who comes by a Unix socket.")
    static let drainDelay = Setting.with(
        "drain_delay", .duration(.zero ... .minutes(10)), default: .zero,
        help: "How long a stop goes on accepting after readiness has turned false.")
    static let stopTimeout = Setting.with(
        "stop_timeout", .duration(.zero ... .hours(1)), default: .seconds(30),
        help: "How long a stop waits for exchanges in flight.")
    static let logAccess = Setting.with(
        "log.access", .logDestination, default: "stdout", help: "Where the access log goes: `stdout`, `off`, or a file."
    )
    static let logLevel = Setting.with(
        "log.level", .word("debug", "info", "warning", "error"), default: "info",
        help: "The lowest level of the program's own events.")
    static let adminAddress = Setting.with(
        "admin.address", .listenAddress, default: .tcp(host: "127.0.0.1", port: 9464),
        help: "Where `/healthz`, `/readyz` and `/metrics` are answered, without TLS and without sign-in.")

    static let adminMode = Setting<UInt32>.optional(
        "admin.mode", .fileMode, absent: "`0600`", help: "The mode of the file, where `address` is a Unix socket.")

    private static let process: [any SettingDeclaration] = [
        workers, memoryMax, user, trustedProxies, drainDelay, stopTimeout,
        SettingGroup("log", .mapping(word: nil), help: "Where events go."), logAccess, logLevel,
        SettingGroup("admin", .mapping(word: "off"), help: "The listener for operators; `off` switches it off."),
        adminAddress, adminMode,
    ]

    enum Listener {
        static let address = Setting.required(
            "listeners[].address", .listenAddress,
            help: "Where to accept. `0.0.0.0` is every IPv4 address of the machine, `[::]` every IPv6 address and no "
                + "IPv4: to accept on both, write two listeners, such as `0.0.0.0:8443` and `[::]:8443`. A Unix socket "
                + "has no addresses of clients: see `trusted_proxies`.")
        static let mode = Setting<UInt32>.optional(
            "listeners[].mode", .fileMode, absent: "`0600`",
            help: "The mode of the file, where `address` is a Unix socket: who may write to it may connect.")
        static let redirectToHTTPS = Setting.optional(
            "listeners[].redirect_to_https", .integer(1...65535), absent: "requests are served",
            help: "Answers every request with a redirect to HTTPS on this port.")
        static let publicPort = Setting.optional(
            "listeners[].public_port", .integer(1...65535),
            absent: "the port of `address`; on a Unix socket 443 with TLS, else 80",
            help: "The port that clients see, where a port mapping stands before the listener.")
        static let connectionsMax = Setting.with(
            "listeners[].connections_max", .integer(1...1_000_000), default: 10_000,
            help: "Open connections, over all workers.")
        static let connectionsPerAddressMax = Setting.optional(
            "listeners[].connections_per_address_max", .integer(1...1_000_000),
            absent: "no more than there may be at all",
            help: "Open connections of one client address (IPv6 by /64), over all workers. Behind a proxy without "
                + "`proxy_protocol` that is the proxy's.")
        static let handshakesMax = Setting.with(
            "listeners[].handshakes_max", .integer(1...1_000_000), default: 1024,
            help: "TLS handshakes under way, over all workers, of which each has an equal part. Beyond it the oldest "
                + "make room: first those that have said nothing, then those that are late with their answer.")
        static let proxyProtocol = Setting<GatewayConfiguration.Peers>.optional(
            "listeners[].proxy_protocol", .peers, absent: "not spoken", isList: true,
            help: "Peers that begin each connection with a header of the PROXY protocol, version 1 or 2, which says "
                + "whose it is. All others are refused.")
        static let handshakeTimeout = Setting.with(
            "listeners[].handshake_timeout", timeout, default: .seconds(10),
            help: "Longest wait for a finished TLS handshake, and before it for the header of `proxy_protocol`.")
        static let headTimeout = Setting.with(
            "listeners[].head_timeout", timeout, default: .seconds(10),
            help: "Longest wait for a complete request head.")
        static let bodyTimeout = Setting.with(
            "listeners[].body_timeout", timeout, default: .seconds(30),
            help: "Longest silence while a request body is read; less than 1 KiB within it counts as silence.")
        static let bodyRateMin = Setting.with(
            "listeners[].body_rate_min", .size(0...1 << 20), default: 240,
            help:
                "The slowest that a request body may come, in bytes for each second, averaged over `body_timeout`; less "
                + "is a 408. Time in which the application does not read is not the client's.")
        static let requestTimeout = Setting.optional(
            "listeners[].request_timeout", .duration(.milliseconds(100) ... .days(7)), absent: "no bound",
            help: "Longest time from a complete request head to the end of the answer. Upgraded connections and event "
                + "streams are left out.")
        static let idleTimeout = Setting.with(
            "listeners[].idle_timeout", timeout, default: .seconds(60),
            help: "How long a connection may wait for its next request.")
        static let tunnelIdleTimeout = Setting.with(
            "listeners[].tunnel_idle_timeout", .duration(.seconds(1) ... .days(7)), default: .hours(1),
            help: "How long an upgraded connection may be silent in both directions.")
        static let headBytesMax = Setting.with(
            "listeners[].head_bytes_max", .size(1024...61440), default: 16384, help: "Request line and fields together."
        )
        static let fieldsMax = Setting.with(
            "listeners[].fields_max", .integer(8...128), default: 100, help: "Fields of one request head.")
        static let chunkExtensionBytesMax = Setting.with(
            "listeners[].chunk_extension_bytes_max", .size(0...65536), default: 1024,
            help: "Chunk extensions of one message together.")
        static let streamsMax = Setting.with(
            "listeners[].http2.streams_max", .integer(1...1000), default: 100,
            help: "Streams of one HTTP/2 connection that may be under way at once.")
        static let streamWindow = Setting.with(
            "listeners[].http2.stream_window", .size(65_535...16_777_216), default: 65_535,
            help: "What a client may send on one stream before its bytes have gone on; held in memory for each stream.")
        static let glitchesMax = Setting.with(
            "listeners[].http2.glitches_max", .integer(100...10_000_000), default: 10_000,
            help: "Where an HTTP/2 connection ends whose client costs more than it asks for: each reset, ping, "
                + "setting, tiny window or malformed request counts from 1 to 100, and time and answers take off.")
        static let allowInvalidUTF8 = Setting.with(
            "listeners[].allow_invalid_utf8", .boolean, default: false,
            help: "Lets paths through that are not UTF-8 once decoded.")
        static let underscoreHeaders = Setting.with(
            "listeners[].underscore_headers", .choice, default: GatewayConfiguration.UnderscoreHeaders.drop,
            help: "What happens to a field name with `_`, which many frameworks cannot tell from `-`. "
                + "Aliases of protected names are dropped in any case.")

        static let all: [any SettingDeclaration] =
            [
                SettingGroup("listeners", .listOfMappings, help: "The addresses to accept on; at least one."),
                address, mode,
            ] + TLS.listeners + [
                redirectToHTTPS, publicPort, connectionsMax, connectionsPerAddressMax, handshakesMax, proxyProtocol,
                handshakeTimeout, headTimeout, bodyTimeout, bodyRateMin, requestTimeout, idleTimeout,
                tunnelIdleTimeout, headBytesMax, fieldsMax, chunkExtensionBytesMax,
                SettingGroup("listeners[].http2", .mapping(word: nil), help: "Bounds of HTTP/2 connections."),
                streamsMax, streamWindow, glitchesMax, allowInvalidUTF8, underscoreHeaders,
            ]
    }

    enum Upstream {
        static let endpoints = Setting.required(
            "upstreams.<name>.endpoints", .endpoint, isList: true, help: "Where the application listens, taken in turn."
        )
        static let connectTimeout = Setting.with(
            "upstreams.<name>.connect_timeout", timeout, default: .seconds(5),
            help: "Longest wait for a connection to an endpoint.")
        static let firstByteTimeout = Setting.with(
            "upstreams.<name>.first_byte_timeout", timeout, default: .seconds(60),
            help: "Longest wait from the end of the request to the first byte of the answer.")
        static let idleTimeout = Setting.with(
            "upstreams.<name>.idle_timeout", timeout, default: .seconds(60), help: "Longest silence within an answer.")
        static let keepAliveTimeout = Setting.with(
            "upstreams.<name>.keep_alive.timeout", .duration(.zero ... .hours(1)), default: .seconds(30),
            help: "How long an idle connection is kept for reuse; `0s` closes it after each exchange.")
        static let keepAliveConnectionsMax = Setting.with(
            "upstreams.<name>.keep_alive.connections_max", .integer(0...10_000), default: 64,
            help: "Idle connections kept by each worker.")
        static let exchangesMax = Setting.optional(
            "upstreams.<name>.exchanges_max", .integer(1...100_000), absent: "as many as come",
            help: "Requests that each endpoint is given at a time, over all workers: how many its application works on "
                + "at once. Upgraded connections count for as long as they last.")
        static let queueMax = Setting.with(
            "upstreams.<name>.queue_max", .integer(0...10_000), default: 256,
            help: "Requests that may wait where `exchanges_max` is reached, over all workers and endpoints, first "
                + "come, first served; others are 503 at once.")
        static let queueTimeout = Setting.with(
            "upstreams.<name>.queue_timeout", .duration(.milliseconds(10) ... .hours(1)), default: .seconds(5),
            help: "Longest wait of such a request; then it is 503. Less than what clients wait, or the application "
                + "works for clients that are gone.")
        static let headBytesMax = Setting.with(
            "upstreams.<name>.head_bytes_max", .size(1024...61440), default: 32768,
            help: "Status line and fields of an answer together.")

        static let all: [any SettingDeclaration] = [
            SettingGroup(
                "upstreams", .names, help: "The applications behind the gateway. The name `identity` is taken."),
            endpoints, connectTimeout, firstByteTimeout, idleTimeout,
            SettingGroup(
                "upstreams.<name>.keep_alive", .mapping(word: nil), help: "Connections kept for the next exchange."),
            keepAliveTimeout, keepAliveConnectionsMax, exchangesMax, queueMax, queueTimeout, headBytesMax,
        ]
    }

    enum Buffering {
        static let requestMemoryBytesMax = Setting.with(
            "buffering.request_memory_bytes_max", .size(4096...16_777_216), default: 65_536,
            help: "What of one request body is kept in memory; the rest goes to a file.")
        static let responseMemoryBytesMax = Setting.with(
            "buffering.response_memory_bytes_max", .size(4096...16_777_216), default: 262_144,
            help: "What of one answer waits in memory for its client; the rest goes to a file.")
        static let fileBytesMax = Setting.with(
            "buffering.file_bytes_max", .size(0...1 << 50), default: 1 << 30,
            help: "The largest file of one body, `0` for none. A request body beyond memory and file is 413; beyond "
                + "them the application waits for whoever reads its answer.")
        static let allFilesBytesMax = Setting.with(
            "buffering.all_files_bytes_max", .size(0...1 << 50), default: 8 << 30,
            help: "The files of all bodies together. Beyond it a request body that needs a file is 503, and answers "
                + "make the application wait.")
        static let folder = Setting.optional(
            "buffering.folder", .path, absent: "one of the gateway's own below `$TMPDIR`, `/var/tmp` or `/tmp`",
            help: "The folder of the files, which have no names and are gone when the gateway stops.")

        static let all: [any SettingDeclaration] = [
            SettingGroup(
                "buffering", .mapping(word: nil),
                help: "Where bodies wait on routes with `buffer_request` or `buffer_response`."),
            requestMemoryBytesMax, responseMemoryBytesMax, fileBytesMax, allFilesBytesMax, folder,
        ]
    }

    private static var timeout: SettingType<Duration> { .duration(.milliseconds(100) ... .hours(1)) }
}

extension Settings {
    enum Store {
        static let redisURL = Setting.optional(
            "redis.url", .redisURL, absent: "no Redis", alias: "REDIS_URL",
            help: "The server; needed where `redis:` stands.")
        static let redisPassword = Setting.optional(
            "redis.password", .password, absent: "the one in the URL", isSecret: true, help: "The server's password.")
        static let redisTimeout = Setting.with(
            "redis.timeout", .duration(.milliseconds(10) ... .seconds(10)), default: .milliseconds(250),
            help: "How long a command may take before the store counts as away.")
        static let rate = Setting.required(
            "limits.<name>.rate", .rate, help: "Permitted requests in each period: `5/minute` or `5 per minute`.")
        static let burst = Setting.optional(
            "limits.<name>.burst", .integer(1...1_000_000), absent: "the count of the rate",
            help: "How many may come at once.")
        static let key = Setting<GatewayConfiguration.Limit.Key>.with(
            "limits.<name>.key", .choice, default: .address,
            help: "What is counted: each address (IPv6 by /64), each subject, or the route as a whole.")
        static let store = Setting<GatewayConfiguration.Limit.Store>.optional(
            "limits.<name>.store", .choice, absent: "`redis` where Redis is configured, else `memory`",
            help: "Where counts are kept; those in memory are exact for one process.")
        static let onStoreError = Setting<GatewayConfiguration.Limit.OnStoreError>.with(
            "limits.<name>.on_store_error", .choice, default: .local,
            help: "What holds while the store is away: let through, refuse with 503, or count in memory.")

        static let all: [any SettingDeclaration] = [
            SettingGroup("redis", .mapping(word: nil), help: "The shared store."),
            redisURL, redisPassword, redisTimeout,
            SettingGroup("limits", .names, help: "Named limits for routes and rules."),
            rate, burst, key, store, onStoreError,
            SettingGroup("roles", .names, help: "Named sets of scopes that users of the directory are given."),
            roleScopes,
        ]
        static let roleScopes = Setting.required(
            "roles.<name>", .scope, isList: true, help: "The scopes that the role grants; `[]` grants none.")
    }

    enum Identity {
        static let database = Setting.with(
            "identity.database", .databasePath, default: "gateway.db", alias: "DATABASE_URL",
            help: "SQLite file of users, sessions and signing keys: a path, or a URL that begins with `sqlite:`.")
        static let issuer = Setting.with(
            "identity.issuer", .tokenName, default: "auth-gateway",
            help: "`iss` of tokens made here, and the issuer of the subjects of sessions.")
        static let exposeSessionToken = Setting.with(
            "identity.expose_session_token", .boolean, default: true,
            help: "Whether `POST /api/auth/login` returns the session's token in its body.")
        static let verifyWithoutSession = Setting<GatewayConfiguration.Identity.VerifyWithoutSession>.with(
            "identity.verify_without_session", .choice, default: .ok,
            help: "What `GET /api/auth/verify` answers without a session.")
        static let tokenLifetime = Setting.with(
            "identity.token_lifetime", .duration(.seconds(10) ... .days(1)), default: .hours(1),
            help: "Life of tokens made here.")
        static let tokenAudience = Setting.with(
            "identity.token_audience", .tokenName, default: "auth-gateway",
            help: "`aud` of tokens made here, unless the command names one.")

        static let all: [any SettingDeclaration] = [
            SettingGroup("identity", .mapping(word: nil), help: "The identity service in this program."),
            database, issuer, exposeSessionToken, verifyWithoutSession, tokenLifetime, tokenAudience,
        ]
    }
}

extension SettingType where Value == String {
    static let logDestination = SettingType(
        name: "word or path", allowed: "stdout, off, or the path of a file", schema: SettingType.path.schema,
        read: SettingType.path.read, show: { $0 })

    /// A path, or SQLAlchemy's spelling of one; engines that are not built are refused by name.
    static let databasePath = SettingType(
        name: "path", allowed: "the path of an SQLite file, or sqlite:///relative/path or sqlite:////absolute/path",
        schema: .members(["type": .string("string"), "minLength": .integer(1)]),
        read: { text throws(Refusal) in
            var path = text
            if text.hasPrefix("sqlite:///") {
                path = String(text.dropFirst("sqlite:///".count))
            } else if text.hasPrefix("sqlite:"), !text.hasPrefix("sqlite://") {
                path = String(text.dropFirst("sqlite:".count))
            } else if let colon = text.firstIndex(of: ":"), text[colon...].hasPrefix("://") {
                // Neither the host nor the password of the URL goes into the message.
                throw Refusal(
                    "databases of the kind \(String(text[..<colon]).quoted) are not built yet",
                    cure: "use an SQLite file, such as sqlite:///gateway.db")
            }
            guard path != ":memory:", !path.contains("?") else {
                throw Refusal("the database is no plain file", cure: "name a file that outlives the process")
            }
            return try SettingType.path.read(path)
        },
        show: { $0 })
}
