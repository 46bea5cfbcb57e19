internal import Synchronization

/// Every metric of the process, by family; renders them as Prometheus text (exposition format 0.0.4).
///
/// Each worker owns instruments of its own, so that none is shared on the hot path. Instruments of a family with the
/// same labels are summed when they are read.
public final class MetricRegistry: Sendable {
    /// What a family's numbers mean.
    public enum Kind: String, Sendable { case counter, gauge, histogram }

    private enum Instrument: Sendable {
        case counter(Counter)
        case gauge(Gauge)
        case histogram(DurationHistogram)
        case computed(@Sendable () -> Double)
    }

    private struct Family: Sendable {
        let kind: Kind
        let help: String
        var instruments: [(labels: String, instrument: Instrument)] = []
    }

    private let families = Mutex<[String: Family]>([:])

    /// Empty.
    public init() {}

    /// Makes a counter. The name ends in `_total`; labels are few and their values come from configuration.
    public func counter(_ name: String, help: String, labels: [(String, String)] = []) -> Counter {
        let counter = Counter()
        add(.counter(counter), name, .counter, help, labels)
        return counter
    }

    /// Makes a gauge.
    public func gauge(_ name: String, help: String, labels: [(String, String)] = []) -> Gauge {
        let gauge = Gauge()
        add(.gauge(gauge), name, .gauge, help, labels)
        return gauge
    }

    /// Makes a histogram of lengths of time; the name ends in `_seconds`.
    public func histogram(_ name: String, help: String, labels: [(String, String)] = []) -> DurationHistogram {
        let histogram = DurationHistogram()
        add(.histogram(histogram), name, .histogram, help, labels)
        return histogram
    }

    /// Registers a gauge that is computed when it is read.
    public func computedGauge(
        _ name: String, help: String, labels: [(String, String)] = [], value: @escaping @Sendable () -> Double
    ) {
        add(.computed(value), name, .gauge, help, labels)
    }

    private func add(
        _ instrument: Instrument, _ name: String, _ kind: Kind, _ help: String, _ labels: [(String, String)]
    ) {
        let text = labels.map { "\($0.0)=\"\(MetricRegistry.escape($0.1))\"" }.joined(separator: ",")
        families.withLock { families in
            families[name, default: Family(kind: kind, help: help)].instruments.append((text, instrument))
        }
    }

    /// All families, sorted by name.
    public func prometheusText() -> String {
        let families = families.withLock { $0 }
        var text = ""
        for (name, family) in families.sorted(by: { $0.key < $1.key }) {
            text += "# HELP \(name) \(family.help)\n# TYPE \(name) \(family.kind.rawValue)\n"
            var order: [String] = []
            var groups: [String: [Instrument]] = [:]
            for (labels, instrument) in family.instruments {
                if groups[labels] == nil { order.append(labels) }
                groups[labels, default: []].append(instrument)
            }
            for labels in order.sorted() {
                text += MetricRegistry.lines(name, labels, groups[labels] ?? [])
            }
        }
        return text
    }

    private static func lines(_ name: String, _ labels: String, _ instruments: [Instrument]) -> String {
        var count: UInt64 = 0
        var level = 0.0
        var buckets: [UInt64] = []
        var sum: UInt64 = 0
        var isCounter = false
        for instrument in instruments {
            switch instrument {
            case .counter(let counter):
                isCounter = true
                count &+= counter.value
            case .gauge(let gauge): level += Double(gauge.value)
            case .computed(let value): level += value()
            case .histogram(let histogram):
                let snapshot = histogram.snapshot
                buckets = buckets.isEmpty ? snapshot.counts : zip(buckets, snapshot.counts).map { $0 &+ $1 }
                sum &+= snapshot.sumNanoseconds
            }
        }
        if !buckets.isEmpty { return histogramLines(name, labels, buckets, sum) }
        let series = labels.isEmpty ? name : "\(name){\(labels)}"
        if isCounter { return "\(series) \(count)\n" }
        return "\(series) \(level == level.rounded() && abs(level) < 1e15 ? "\(Int64(level))" : "\(level)")\n"
    }

    private static func histogramLines(
        _ name: String, _ labels: String, _ buckets: [UInt64], _ sumNanoseconds: UInt64
    ) -> String {
        var text = ""
        var total: UInt64 = 0
        let prefix = labels.isEmpty ? "" : "\(labels),"
        for (index, bucket) in buckets.enumerated() {
            total &+= bucket
            let bounds = DurationHistogram.boundsNanoseconds
            let bound = index < bounds.count ? "\(Double(bounds[index]) / 1e9)" : "+Inf"
            text += "\(name)_bucket{\(prefix)le=\"\(bound)\"} \(total)\n"
        }
        let suffix = labels.isEmpty ? "" : "{\(labels)}"
        text += "\(name)_sum\(suffix) \(Double(sumNanoseconds) / 1e9)\n"
        text += "\(name)_count\(suffix) \(total)\n"
        return text
    }

    private static func escape(_ value: String) -> String {
        var escaped = ""
        for character in value.unicodeScalars {
            switch character {
            case "\\": escaped += "\\\\"
            case "\"": escaped += "\\\""
            case "\n": escaped += "\\n"
            default: escaped.unicodeScalars.append(character)
            }
        }
        return escaped
    }
}
