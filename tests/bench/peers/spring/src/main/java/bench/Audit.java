package bench;

import bench.Events.Event;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.MessageDigest;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.springframework.beans.factory.annotation.Value;
import org.springframework.jdbc.core.JdbcTemplate;
import org.springframework.stereotype.Repository;
import org.springframework.transaction.annotation.Transactional;

/** The log, chained by hashes, and the offsets, in one database. */
@Repository
public class Audit {
    private final JdbcTemplate jdbc;
    private final Events events;
    private final MessageDigest sha = MessageDigest.getInstance("SHA-256");
    private long id;
    private byte[] head = new byte[32];

    public Audit(JdbcTemplate jdbc, Events events, @Value("${TABLES}") Path tables) throws Exception {
        this.jdbc = jdbc;
        this.events = events;
        for (String s : Files.readString(tables).split(";")) if (!s.isBlank()) jdbc.execute(s);
        jdbc.query("SELECT id, hash FROM audit ORDER BY id DESC LIMIT 1", rs -> {
            id = rs.getLong(1);
            head = rs.getBytes(2);
        });
    }

    /** -1: nothing was read of it. */
    public long next(String topic, int partition) {
        List<Long> n = jdbc.queryForList("SELECT next FROM offsets WHERE topic = ? AND partition = ?", Long.class, topic, partition);
        return n.isEmpty() ? -1 : n.get(0);
    }

    @Transactional
    public void append(List<ConsumerRecord<String, byte[]>> records) throws Exception {
        List<Object[]> rows = new ArrayList<>(records.size());
        Map<Integer, Long> next = new HashMap<>();
        long n = id;
        byte[] hash = head;
        String topic = records.get(0).topic();
        for (ConsumerRecord<String, byte[]> r : records) {
            Event e = events.decode(r.value());
            String row = ++n + "\n" + e.returnId() + "\n" + e.id() + "\n" + e.type() + "\n" + topic + "\n" + r.partition() + "\n" + r.offset()
                + "\n" + e.occurredAt() + "\n" + e.summary();
            sha.update(hash);
            hash = sha.digest(row.getBytes(StandardCharsets.UTF_8));
            rows.add(new Object[] {n, e.returnId(), e.id(), e.type(), topic, r.partition(), r.offset(), e.occurredAt(), e.summary(), hash});
            next.put(r.partition(), r.offset() + 1);
        }
        jdbc.batchUpdate("INSERT INTO audit VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", rows, rows.size(), (ps, o) -> {
            for (int i = 0; i < o.length; i++)
                if (o[i] instanceof byte[] b) ps.setBytes(i + 1, b);
                else if (o[i] instanceof String s) ps.setString(i + 1, s);
                else if (o[i] instanceof Long l) ps.setLong(i + 1, l);
                else ps.setInt(i + 1, (Integer) o[i]);
        });
        jdbc.batchUpdate("INSERT INTO offsets VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET next = excluded.next",
            next.entrySet().stream().map(o -> new Object[] {topic, o.getKey(), o.getValue()}).toList());
        id = n;
        head = hash;
    }
}
