internal import IdentityModel

extension Settings {
    enum Session {
        static let cookieName = Setting.optional(
            "authentication.session.cookie_name", .cookieName,
            absent: "`__Host-gateway_session`; `gateway_session` with `domain` or without TLS",
            help: "The session cookie. Flask's own cookie is called `session`.")
        static let domain = Setting.optional(
            "authentication.session.domain", .cookieDomain, absent: "the host alone",
            help: "Shares the session among the hosts below this domain.")
        static let isSecure = Setting.optional(
            "authentication.session.secure", .boolean, absent: "whether a listener has TLS",
            help: "Browsers send the cookie over TLS alone. To be set where a proxy in front ends TLS.")
        static let loginURL = Setting.optional(
            "authentication.session.login_url", .url, absent: "`/auth/login` on the same host",
            help: "The sign-in page, where it is on another host.")
        static let idleTimeout = Setting.with(
            "authentication.session.idle_timeout", .duration(.minutes(1) ... .days(90)), default: .hours(8),
            help: "A session that is not used for this long ends.")
        static let lifetime = Setting.with(
            "authentication.session.lifetime", .duration(.minutes(1) ... .days(90)), default: .hours(8),
            help: "A session ends after this long whatever happens.")
        static let cacheEntriesMax = Setting.with(
            "authentication.session.cache_entries_max", .integer(0...1_000_000), default: 10_000,
            help: "Sessions remembered by each worker.")
        static let cacheTTL = Setting.with(
            "authentication.session.cache_ttl", .duration(.zero ... .minutes(5)), default: .seconds(10),
            help:
                "The longest time a worker believes a session without asking the store. Sign-out is effective at once.")

        static let all: [any SettingDeclaration] = [
            SettingGroup("authentication", .mapping(word: nil), help: "How subjects prove who they are."),
            SettingGroup("authentication.session", .mapping(word: nil), help: "The session cookie."),
            cookieName, domain, isSecure, loginURL, idleTimeout, lifetime, cacheEntriesMax, cacheTTL,
        ]
    }

    enum Token {
        static let cacheEntriesMax = Setting.with(
            "authentication.jwt_cache_entries_max", .integer(0...1_000_000), default: 20_000,
            help: "Verified tokens remembered by each worker, over all issuers.")
        static let issuer = Setting.optional(
            "authentication.jwt[].issuer", .tokenName, absent: "required; `identity.issuer` with `keys: identity`",
            alias: "JWT_ISSUER", help: "The `iss` that tokens must have.")
        static let audience = Setting.optional(
            "authentication.jwt[].audience", .tokenName,
            absent: "required; `identity.token_audience` with `keys: identity`", isList: true, alias: "JWT_AUDIENCE",
            help: "One of these must be among the `aud` of a token.")
        static let jwksFile = Setting.optional(
            "authentication.jwt[].keys.jwks_file", .path, absent: "another source of keys",
            help: "A file with a JWK set (RFC 7517).")
        static let jwksURL = Setting.optional(
            "authentication.jwt[].keys.jwks_url", .url, absent: "another source of keys", alias: "IAM_JWKS_URL",
            help: "The URL of a JWK set.")
        static let authorities = Setting.optional(
            "authentication.jwt[].keys.ca", .path, absent: "the system's authorities",
            help: "PEM file of the authorities that may vouch for an https `jwks_url`, instead of the system's. "
                + "Each fetch reads it.")
        static let secret = Setting.optional(
            "authentication.jwt[].keys.secret", .secret, absent: "another source of keys", isSecret: true,
            help: "A shared secret, for HS256 alone: whoever can check such tokens can make them.")
        static let algorithms = Setting<GatewayConfiguration.SignatureAlgorithm>.optional(
            "authentication.jwt[].algorithms", .choice,
            absent: "`ES256` with `keys: identity`, `HS256` with a secret, else `ES256` and `RS256`", isList: true,
            help: "The signatures accepted; what a token says of itself does not count.")
        static let clockSkew = Setting.with(
            "authentication.jwt[].clock_skew", .duration(.zero ... .minutes(5)), default: .seconds(60),
            help: "How far the issuer's clock may be off.")
        static let refreshInterval = Setting.with(
            "authentication.jwt[].refresh_interval", .duration(.seconds(10) ... .days(1)), default: .minutes(10),
            help: "How often a JWKS URL is asked again.")
        static let usernameClaim = Setting.optional(
            "authentication.jwt[].username_claim", .tokenName,
            absent: "`sub`; `preferred_username` with `keys: identity`",
            help: "The claim that becomes the user's name.")
        static let rolesClaim = Setting.with(
            "authentication.jwt[].roles_claim", .tokenName, default: "roles", help: "The claim that lists roles.")
        static let groupsClaim = Setting.with(
            "authentication.jwt[].groups_claim", .tokenName, default: "groups", help: "The claim that lists groups.")
        static let prefix = Setting.optional(
            "authentication.jwt[].prefix", .text(bytesMax: 64), absent: "none",
            help: "Put before the user's name. A route that takes users from two sources needs it on all but one.")

        static let all: [any SettingDeclaration] = [
            cacheEntriesMax,
            SettingGroup(
                "authentication.jwt", .listOfMappings, help: "Issuers whose tokens count as bearer credentials."),
            issuer, audience,
            SettingGroup(
                "authentication.jwt[].keys", .mapping(word: "identity"),
                help: "Where keys come from: the word `identity` for the gateway's own, or one of the keys below."),
            jwksFile, jwksURL, authorities, secret, algorithms, clockSkew, refreshInterval, usernameClaim, rolesClaim,
            groupsClaim,
            prefix,
        ]
    }
}
