/// The field names that this program acts on, recognised while a head is parsed.
public enum KnownField: UInt8, CaseIterable, Sendable {
    /// Any other name.
    case other
    case host, contentLength, transferEncoding, connection, keepAlive, proxyConnection, te, trailer, upgrade, expect
    case authorization, proxyAuthorization, proxyAuthenticate, cookie, setCookie, http2Settings
    case forwarded, xForwardedFor, xForwardedProto, xForwardedHost, xForwardedPort, xRealIP, xRequestID
    case traceparent, tracestate, accept, secFetchMode, xRequestedWith, origin, accessControlRequestMethod
    case contentType, date, server, location, userAgent, wwwAuthenticate
    case range, ifRange, ifModifiedSince, ifUnmodifiedSince, contentRange, referer, maxForwards
    case secFetchSite, secFetchDest, secFetchUser, secWebSocketKey, secWebSocketVersion, xAccelBuffering

    /// The name in lower case; empty for `other`.
    public var name: StaticString {
        switch self {
        case .other: ""
        case .host: "host"
        case .contentLength: "content-length"
        case .transferEncoding: "transfer-encoding"
        case .connection: "connection"
        case .keepAlive: "keep-alive"
        case .proxyConnection: "proxy-connection"
        case .te: "te"
        case .trailer: "trailer"
        case .upgrade: "upgrade"
        case .expect: "expect"
        case .authorization: "authorization"
        case .proxyAuthorization: "proxy-authorization"
        case .proxyAuthenticate: "proxy-authenticate"
        case .cookie: "cookie"
        case .setCookie: "set-cookie"
        case .http2Settings: "http2-settings"
        case .forwarded: "forwarded"
        case .xForwardedFor: "x-forwarded-for"
        case .xForwardedProto: "x-forwarded-proto"
        case .xForwardedHost: "x-forwarded-host"
        case .xForwardedPort: "x-forwarded-port"
        case .xRealIP: "x-real-ip"
        case .xRequestID: "x-request-id"
        case .traceparent: "traceparent"
        case .tracestate: "tracestate"
        case .accept: "accept"
        case .secFetchMode: "sec-fetch-mode"
        case .xRequestedWith: "x-requested-with"
        case .origin: "origin"
        case .accessControlRequestMethod: "access-control-request-method"
        case .contentType: "content-type"
        case .date: "date"
        case .server: "server"
        case .location: "location"
        case .userAgent: "user-agent"
        case .wwwAuthenticate: "www-authenticate"
        case .range: "range"
        case .ifRange: "if-range"
        case .ifModifiedSince: "if-modified-since"
        case .ifUnmodifiedSince: "if-unmodified-since"
        case .contentRange: "content-range"
        case .referer: "referer"
        case .maxForwards: "max-forwards"
        case .secFetchSite: "sec-fetch-site"
        case .secFetchDest: "sec-fetch-dest"
        case .secFetchUser: "sec-fetch-user"
        case .secWebSocketKey: "sec-websocket-key"
        case .secWebSocketVersion: "sec-websocket-version"
        case .xAccelBuffering: "x-accel-buffering"
        }
    }

    /// Whether the field has one value and decides something, here or in an application: two lines of one are two
    /// opinions, of which each server may follow another (RFC 9110 section 5.3). Host and the framing fields have
    /// errors of their own.
    var isSingleValued: Bool {
        switch self {
        case .authorization, .proxyAuthorization, .origin, .accessControlRequestMethod, .contentType, .contentRange,
            .date, .range, .ifRange, .ifModifiedSince, .ifUnmodifiedSince, .referer, .maxForwards, .secFetchMode,
            .secFetchSite, .secFetchDest, .secFetchUser, .secWebSocketKey, .secWebSocketVersion:
            true
        default: false
        }
    }

    /// The field that the token in `range` of `bytes` names, in any case; `other` if it is none of these.
    static func find(_ bytes: Span<UInt8>, _ range: Range<Int>) -> KnownField {
        let candidate = guess(bytes, range)
        guard candidate != .other, bytes.holds(token: candidate.name, in: range) else { return .other }
        return candidate
    }

    /// The only field that could have this length and these few letters.
    @inline(__always)
    private static func guess(_ bytes: Span<UInt8>, _ range: Range<Int>) -> KnownField {
        guard range.count >= 2 else { return .other }
        let first = bytes[range.lowerBound] | 0x20
        switch range.count {
        case 2: return .te
        case 4: return first == UInt8(ascii: "h") ? .host : .date
        case 5: return .range
        case 6:
            switch first {
            case UInt8(ascii: "c"): return .cookie
            case UInt8(ascii: "e"): return .expect
            case UInt8(ascii: "s"): return .server
            case UInt8(ascii: "o"): return .origin
            default: return .accept
            }
        case 7:
            switch first {
            case UInt8(ascii: "t"): return .trailer
            case UInt8(ascii: "u"): return .upgrade
            default: return .referer
            }
        case 8: return first == UInt8(ascii: "l") ? .location : .ifRange
        case 9: return first == UInt8(ascii: "f") ? .forwarded : .xRealIP
        case 10:
            switch first {
            case UInt8(ascii: "c"): return .connection
            case UInt8(ascii: "k"): return .keepAlive
            case UInt8(ascii: "s"): return .setCookie
            case UInt8(ascii: "u"): return .userAgent
            default: return .tracestate
            }
        case 11: return .traceparent
        case 12:
            switch first {
            case UInt8(ascii: "c"): return .contentType
            case UInt8(ascii: "x"): return .xRequestID
            default: return .maxForwards
            }
        case 13: return first == UInt8(ascii: "a") ? .authorization : .contentRange
        case 14:
            switch first {
            case UInt8(ascii: "c"): return .contentLength
            case UInt8(ascii: "h"): return .http2Settings
            default: break
            }
            switch bytes[range.lowerBound + 10] | 0x20 {
            case UInt8(ascii: "m"): return .secFetchMode
            case UInt8(ascii: "s"): return .secFetchSite
            case UInt8(ascii: "d"): return .secFetchDest
            default: return .secFetchUser
            }
        case 15: return .xForwardedFor
        case 16:
            switch (first, bytes[range.lowerBound + 12] | 0x20) {
            case (UInt8(ascii: "p"), _): return .proxyConnection
            case (UInt8(ascii: "w"), _): return .wwwAuthenticate
            case (_, UInt8(ascii: "h")): return .xForwardedHost
            case (_, UInt8(ascii: "p")): return .xForwardedPort
            default: return .xRequestedWith
            }
        case 17:
            switch first {
            case UInt8(ascii: "t"): return .transferEncoding
            case UInt8(ascii: "x"):
                return bytes[range.lowerBound + 2] | 0x20 == UInt8(ascii: "a") ? .xAccelBuffering : .xForwardedProto
            case UInt8(ascii: "i"): return .ifModifiedSince
            default: return .secWebSocketKey
            }
        case 18: return .proxyAuthenticate
        case 19: return first == UInt8(ascii: "p") ? .proxyAuthorization : .ifUnmodifiedSince
        case 21: return .secWebSocketVersion
        case 29: return .accessControlRequestMethod
        default: return .other
        }
    }
}
