package bench;

import com.fasterxml.jackson.databind.ObjectMapper;
import java.io.IOException;
import java.math.BigDecimal;
import java.math.BigInteger;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.nio.ByteBuffer;
import java.util.HashMap;
import java.util.Map;
import org.apache.avro.Schema;
import org.apache.avro.generic.GenericDatumReader;
import org.apache.avro.generic.GenericRecord;
import org.apache.avro.io.BinaryDecoder;
import org.apache.avro.io.DecoderFactory;
import org.springframework.beans.factory.annotation.Value;
import org.springframework.stereotype.Component;

/** From Confluent's format, by the writer's schema from the registry. */
@Component
public class Events {
    private final String registry;
    private final Map<Integer, GenericDatumReader<GenericRecord>> readers = new HashMap<>();
    private BinaryDecoder decoder;
    private GenericRecord used;

    public Events(@Value("${REGISTRY}") String registry) {
        this.registry = registry;
    }

    public record Event(String id, String returnId, String type, long occurredAt, String summary) {}

    public Event decode(byte[] value) throws IOException {
        GenericDatumReader<GenericRecord> reader = readers.computeIfAbsent(ByteBuffer.wrap(value, 1, 4).getInt(), this::fetch);
        decoder = DecoderFactory.get().binaryDecoder(value, 5, value.length - 5, decoder);
        GenericRecord r = used = reader.read(used, decoder), cost = (GenericRecord) r.get("cost");
        ByteBuffer amount = (ByteBuffer) cost.get("amount");
        byte[] unscaled = new byte[amount.remaining()];
        amount.duplicate().get(unscaled);
        String summary = new StringBuilder(256)
            .append(r.get("order_id")).append(' ').append(r.get("shipment_id")).append(' ').append(r.get("model")).append(' ')
            .append(r.get("serial_number")).append(' ').append(r.get("location")).append(' ')
            .append(new BigDecimal(new BigInteger(unscaled), 2).toPlainString()).append(' ').append(cost.get("currency")).append(' ')
            .append(r.get("reason_code")).append(' ').append(r.get("channel")).toString();
        return new Event(r.get("event_id").toString(), r.get("return_id").toString(), r.getSchema().getFullName(),
            (Long) r.get("occurred_at"), summary);
    }

    private GenericDatumReader<GenericRecord> fetch(int id) {
        try {
            HttpRequest asked = HttpRequest.newBuilder(URI.create(registry + "/schemas/ids/" + id)).build();
            String body = HttpClient.newHttpClient().send(asked, HttpResponse.BodyHandlers.ofString()).body();
            return new GenericDatumReader<>(new Schema.Parser().parse(new ObjectMapper().readTree(body).get("schema").asText()));
        } catch (IOException | InterruptedException e) {
            throw new IllegalStateException(e);
        }
    }
}
