import Telemetry
import Testing

@Suite struct MetricRegistryTests {
    @Test func `sums the workers' counters that have the same labels`() {
        let registry = MetricRegistry()
        let first = registry.counter("requests_total", help: "Requests.", labels: [("code", "2xx")])
        let second = registry.counter("requests_total", help: "Requests.", labels: [("code", "2xx")])
        let other = registry.counter("requests_total", help: "Requests.", labels: [("code", "4xx")])
        first.add(2)
        second.add(3)
        other.add()
        #expect(
            registry.prometheusText() == """
                # HELP requests_total Requests.
                # TYPE requests_total counter
                requests_total{code="2xx"} 5
                requests_total{code="4xx"} 1

                """)
    }

    @Test func `a histogram's buckets are cumulative and end in the count`() {
        let registry = MetricRegistry()
        let histogram = registry.histogram("request_seconds", help: "Time.")
        histogram.record(nanoseconds: 100_000)
        histogram.record(nanoseconds: 100_001)
        histogram.record(nanoseconds: 90_000_000_000)
        let text = registry.prometheusText()
        #expect(text.contains("request_seconds_bucket{le=\"0.0001\"} 1\n"))
        #expect(text.contains("request_seconds_bucket{le=\"0.00025\"} 2\n"))
        #expect(text.contains("request_seconds_bucket{le=\"60.0\"} 2\n"))
        #expect(text.contains("request_seconds_bucket{le=\"+Inf\"} 3\n"))
        #expect(text.contains("request_seconds_count 3\n"))
    }

    @Test func `a length at a bound is in the bound's bucket, one more is in the next`() {
        for (index, bound) in DurationHistogram.boundsNanoseconds.enumerated() {
            let histogram = DurationHistogram()
            histogram.record(nanoseconds: bound)
            histogram.record(nanoseconds: bound + 1)
            let counts = histogram.snapshot.counts
            #expect(counts.count == DurationHistogram.boundsNanoseconds.count + 1)
            #expect(counts.indices.filter { counts[$0] == 1 } == [index, index + 1])
            #expect(histogram.snapshot.sumNanoseconds == 2 * bound + 1)
        }
    }

    @Test func `label values cannot break out of their quotes`() {
        let registry = MetricRegistry()
        registry.counter("a_total", help: "A.", labels: [("route", "x\"} 1\n\\y")]).add()
        #expect(registry.prometheusText().contains("a_total{route=\"x\\\"} 1\\n\\\\y\"} 1\n"))
    }

    @Test func `a computed gauge is read when it is asked for`() {
        let registry = MetricRegistry()
        registry.computedGauge("load", help: "Load.") { 0.5 }
        #expect(registry.prometheusText().hasSuffix("load 0.5\n"))
    }
}
