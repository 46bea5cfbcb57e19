public import HTTPModel

/// What holds for connections accepted on one address. Lengths of time are in nanoseconds.
public struct ListenerSettings: Sendable {
    /// The address as the configuration spells it.
    public var name: String
    /// `nil`: plain HTTP.
    public var tls: TLSContext?
    /// The port clients see, for `X-Forwarded-Port`.
    public var port: UInt16
    /// Connections over all workers.
    public var connectionsMax: Int
    /// Serves new connections when memory is short, too: for operators, who want to know.
    public var servesWhenShort = false
    /// Those that are open, over all workers; the same object for as long as the address stays.
    public var connections: ConnectionCount
    /// Connections of one client, over all workers; `nil`: as many as there may be at all.
    public var connectionsPerAddressMax: Int?
    /// TLS handshakes under way, over all workers.
    public var handshakesMax: Int
    /// Peers that begin each connection with the PROXY protocol, and are believed; others are refused. `nil`: it is not
    /// spoken.
    public var proxyPeers: PeerSet?
    /// From accept to the end of the TLS handshake; and before it for the PROXY protocol's header.
    public var handshakeTimeout: UInt64
    /// From the first byte of a head, or the handshake's end, to its last byte.
    public var headTimeout: UInt64
    /// The longest silence within a body, and the longest stall of a client that does not read its answer.
    public var bodyTimeout: UInt64
    /// A body that brings less than this within `bodyTimeout` counts as silent: the slowest that a client may send.
    public var bodyProgressBytes: Int
    /// The longest wait for a next request.
    public var idleTimeout: UInt64
    /// The longest silence of an upgraded connection, both ways.
    public var tunnelIdleTimeout: UInt64
    /// Bounds of heads.
    public var headLimits: HeadLimits
    /// Total bytes of chunk extensions in one message.
    public var chunkExtensionBytesMax: Int
    /// Bounds of HTTP/2 connections; those of heads are `headLimits`.
    public var http2: HTTP2Settings
    /// For the filter: its own settings of this listener.
    public var filterIndex: Int

    /// Memberwise.
    public init(
        name: String, tls: TLSContext?, port: UInt16, connectionsMax: Int,
        connections: ConnectionCount = ConnectionCount(), connectionsPerAddressMax: Int? = nil,
        handshakesMax: Int = 1024, proxyPeers: PeerSet? = nil, handshakeTimeout: UInt64,
        headTimeout: UInt64, bodyTimeout: UInt64, bodyProgressBytes: Int = ListenerSettings.bodyProgressBytesMin,
        idleTimeout: UInt64, tunnelIdleTimeout: UInt64,
        headLimits: HeadLimits, chunkExtensionBytesMax: Int, http2: HTTP2Settings = HTTP2Settings(),
        filterIndex: Int
    ) {
        self.name = name
        self.tls = tls
        self.port = port
        self.connectionsMax = connectionsMax
        self.connections = connections
        self.connectionsPerAddressMax = connectionsPerAddressMax
        self.handshakesMax = handshakesMax
        self.proxyPeers = proxyPeers
        self.handshakeTimeout = handshakeTimeout
        self.headTimeout = headTimeout
        self.bodyTimeout = bodyTimeout
        self.bodyProgressBytes = bodyProgressBytes
        self.idleTimeout = idleTimeout
        self.tunnelIdleTimeout = tunnelIdleTimeout
        self.headLimits = headLimits
        self.chunkExtensionBytesMax = chunkExtensionBytesMax
        self.http2 = http2
        self.filterIndex = filterIndex
    }

    /// A few bytes now and then are silence, whatever the rate.
    public static let bodyProgressBytesMin = 1024
}

/// One named pool of endpoints. Lengths of time are in nanoseconds.
public struct UpstreamSettings: Sendable, Equatable {
    /// The name in the configuration.
    public var name: String
    /// The longest time to connect.
    public var connectTimeout: UInt64
    /// From the last byte of a request that was sent to the first byte of its answer.
    public var firstByteTimeout: UInt64
    /// The longest silence within an answer.
    public var idleTimeout: UInt64
    /// How long an idle connection is kept; zero: not at all.
    public var keepAliveTimeout: UInt64
    /// Idle connections kept by each worker.
    public var keepAliveConnectionsMax: Int
    /// Bounds of heads.
    public var headLimits: HeadLimits
    /// The longest wait for a place at an endpoint, where these are counted.
    public var queueTimeout: UInt64

    /// Memberwise.
    public init(
        name: String, connectTimeout: UInt64, firstByteTimeout: UInt64, idleTimeout: UInt64,
        keepAliveTimeout: UInt64, keepAliveConnectionsMax: Int, headLimits: HeadLimits, queueTimeout: UInt64
    ) {
        self.name = name
        self.connectTimeout = connectTimeout
        self.firstByteTimeout = firstByteTimeout
        self.idleTimeout = idleTimeout
        self.keepAliveTimeout = keepAliveTimeout
        self.keepAliveConnectionsMax = keepAliveConnectionsMax
        self.headLimits = headLimits
        self.queueTimeout = queueTimeout
    }
}
